"""What several test files share: the Cloud Storage emulator and the place of real OCT pixels."""

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """gs://BUCKET on an emulator that this test session starts on loopback."""
    server_module = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = server_module.create_server("127.0.0.1", port, in_memory=True, default_bucket="octshard-test")
    server.start()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    yield "gs://octshard-test"
    server.stop()
    del os.environ["STORAGE_EMULATOR_HOST"]


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The AI-READI-shaped release of real pixels; skips where there is none."""
    default = Path(__file__).parents[2] / "shared" / "realdata"
    root = Path(os.environ.get("OCTSHARD_REALDATA", default)) / "aireadi"
    if not (root / "manifest.tsv").exists():
        pytest.skip(f"no real OCT pixels at {root}; set OCTSHARD_REALDATA")
    return root


@pytest.fixture(params=["local", "memory", pytest.param("gcs", marks=pytest.mark.gcs)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh folder on each store."""
    if request.param == "local":
        return str(tmp_path / "root")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('gcs')}/{uuid.uuid4().hex}"
