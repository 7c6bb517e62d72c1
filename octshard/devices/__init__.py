"""Where the arithmetic happens: cpu, cuda, xla, and what differs between them.

`backend` says what the loop asks of a device, `select` opens the one that `run.device` names.
"""
