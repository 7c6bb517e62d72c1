"""The process of the probes, of which the first OCTSHARD_TEST_FAULTY have the fault OCTSHARD_TEST_FAULT.

`kill`: it kills itself; `hang`: it says nothing; `break`: its interpreter ends at once. None imports more.
"""

import os
import signal
import sys
import threading
from pathlib import Path

COUNT = Path(os.environ["OCTSHARD_TEST_COUNT"])  # a file as long as there were processes
FAULT, FAULTY = os.environ["OCTSHARD_TEST_FAULT"], int(os.environ["OCTSHARD_TEST_FAULTY"])

with COUNT.open("a") as file:
    file.write(".")
if COUNT.stat().st_size <= FAULTY:
    if FAULT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang":
        threading.Event().wait()
    sys.exit("no probes today")

from octshard.probes import worker  # noqa: E402 (a faulty one is quick)

worker.main()
