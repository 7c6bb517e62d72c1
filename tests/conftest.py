"""What several test files share: emulators of cloud stores on loopback and the place of real OCT pixels."""

import os
import socket
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import setuptools  # noqa: F401 (torch imports it when it first compiles, which fails after some other tests)

from octshard.storage import client
from tests.support import b2_proxy, faulty_store
from tests.support.emulators import BUCKET, need, s3_settings


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """gs://BUCKET on an emulator that this test session starts on loopback."""
    server_module = pytest.importorskip("gcp_storage_emulator.server")
    need("gcsfs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = server_module.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield f"gs://{BUCKET}"
    server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """s3://BUCKET on moto's server, which this test session starts on loopback."""
    server_module = pytest.importorskip("moto.server")
    need("s3fs")
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_settings(endpoint).items():
            patch.setenv(name, value)
        made = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(made).close()
        yield f"s3://{BUCKET}"
    server.stop()


@pytest.fixture(scope="session")
def b2_server(s3: str) -> Iterator[b2_proxy.B2Proxy]:
    """Backblaze B2, made of moto."""
    yield from b2_proxy.serve(os.environ["AWS_ENDPOINT_URL"])


@pytest.fixture
def b2(s3: str, b2_server: b2_proxy.B2Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3://BUCKET there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", b2_server.url)
    return s3


@pytest.fixture(scope="session")
def faulty_server() -> Iterator[faulty_store.FaultyStore]:
    """One server for all tests, for making a client takes longer than most of them."""
    yield from faulty_store.serve()


@pytest.fixture
def faulty(
    faulty_server: faulty_store.FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[faulty_store.FaultyStore]:
    """A store that fails on demand behind gs://faulty and s3://faulty; its clients lose patience soon."""
    need("gcsfs")
    need("s3fs")
    monkeypatch.setattr(client, "STALL_S", 0.4)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", faulty_server.url)
    for name, value in s3_settings(faulty_server.url).items():
        monkeypatch.setenv(name, value)
    yield faulty_server
    faulty_server.clear()


@pytest.fixture(
    params=[
        pytest.param("gcs", marks=pytest.mark.gcs),
        pytest.param("faulty", marks=pytest.mark.gcs),  # as Google's storage-testbench answers
        pytest.param("b2", marks=pytest.mark.s3),
    ]
)
def cloud(request: pytest.FixtureRequest) -> str:
    """A fresh folder on each kind of cloud store whose answers differ."""
    bucket = request.getfixturevalue(request.param)
    return f"{bucket if isinstance(bucket, str) else f'gs://{faulty_store.BUCKET}'}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The AI-READI-shaped release of real pixels; skips where there is none."""
    default = Path(__file__).parents[2] / "shared" / "realdata"
    root = Path(os.environ.get("OCTSHARD_REALDATA", default)) / "aireadi"
    if not (root / "manifest.tsv").exists():
        pytest.skip(f"no real OCT pixels at {root}; set OCTSHARD_REALDATA")
    return root


@pytest.fixture(
    params=[
        "local",
        "memory",
        pytest.param("gcs", marks=pytest.mark.gcs),
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("b2", marks=pytest.mark.s3),
        pytest.param("faulty", marks=pytest.mark.gcs),  # as Google's storage-testbench answers
    ]
)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh folder on each store."""
    if request.param == "local":
        return str(tmp_path / "root")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    if request.param == "faulty":
        request.getfixturevalue("faulty")
        return f"gs://{faulty_store.BUCKET}/{uuid.uuid4().hex}"
    return f"{request.getfixturevalue(request.param)}/{uuid.uuid4().hex}"
