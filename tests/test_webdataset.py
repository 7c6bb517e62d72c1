"""Plain WebDataset gives arrays with one line, also from remote stores and in its workers."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from torch.utils.data import DataLoader
from webdataset.autodecode import DecodingError

import octshard
from octshard.dataset.shard import BadSample
from octshard.errors import UsageError
from tests.support.tiny_run import SHAPE, odd_wide, voxels_of, write_dataset


def samples(url: str, **options: Any) -> Any:
    return webdataset.WebDataset(url, shardshuffle=False, **options).decode(octshard.webdataset.decoder)


def check(decoded: list[dict[str, Any]], count: int) -> None:
    assert len({sample["__key__"] for sample in decoded}) == count
    for sample in decoded:
        voxels = sample["vol.zst"]
        assert (voxels.dtype, voxels.flags.writeable) == (np.uint8, True)
        np.testing.assert_array_equal(voxels, voxels_of(sample["__key__"], SHAPE))
        assert sample["json"]["shape"] == list(SHAPE)


def test_one_line_makes_arrays(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 7})
    check(list(samples(f"{tmp_path}/train-{{000000..000001}}.tar")), 7)


def test_sixteen_bits_come_as_they_are_stored(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 4}, is_wide=odd_wide)
    for sample in samples(f"{tmp_path}/train-000000.tar"):
        voxels, grey = sample["vol.zst"], voxels_of(sample["__key__"], SHAPE)
        assert voxels.dtype == (np.uint16 if odd_wide(sample["__key__"]) else np.uint8)
        black, white = sample["json"].get("source_levels", (0, 255))
        np.testing.assert_array_equal((voxels.astype(float) - black) * 255 / (white - black), grey)


def test_also_from_every_store(root: str) -> None:
    """Without gsutil, and through a brace expression."""
    url = write_dataset(root, {"train": 7})  # type: ignore[arg-type]
    check(list(samples(f"{url}/train-{{000000..000001}}.tar")), 7)


def test_also_in_forked_workers_of_a_data_loader(root: str) -> None:
    url = write_dataset(root, {"train": 7})  # type: ignore[arg-type]
    loader = DataLoader(
        samples(f"{url}/train-{{000000..000001}}.tar"),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
    )
    keys = [sample["__key__"] for sample in loader]
    assert len(keys) == len(set(keys)) == 7


def test_threads_do_not_see_each_others_json(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", {"train": 5}, shape=SHAPE)
    write_dataset(tmp_path / "b", {"train": 5}, shape=(3, 8, 9))
    decoder, barrier = octshard.webdataset.decoder, threading.Barrier(2, timeout=30)
    shapes: dict[str, list[tuple[int, ...]]] = {"a": [], "b": []}

    def read(name: str) -> None:
        for sample in webdataset.WebDataset(f"{tmp_path}/{name}/train-000000.tar", shardshuffle=False):
            decoder(".json", sample["json"])
            barrier.wait()  # both threads have shown their JSON before either shows its voxels
            shapes[name].append(decoder(".vol.zst", sample["vol.zst"]).shape)

    threads = [threading.Thread(target=read, args=(name,)) for name in shapes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == {"a": [SHAPE] * 5, "b": [(3, 8, 9)] * 5}


def test_voxels_without_their_json_are_a_clear_error(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 2})
    url = str(tmp_path / "train-000000.tar")
    plain = webdataset.WebDataset(url, shardshuffle=False)
    with pytest.raises(DecodingError) as raised:
        list(plain.decode(octshard.webdataset.decoder, only="vol.zst"))
    assert isinstance(raised.value.__cause__, UsageError)
    assert "vol.zst came without the json of its sample" in str(raised.value.__cause__)
    first, second = webdataset.WebDataset(url, shardshuffle=False)
    octshard.webdataset.decoder(".json", first["json"])
    octshard.webdataset.decoder(".vol.zst", first["vol.zst"])
    with pytest.raises(UsageError, match="without the json"):  # that of the sample before is used up
        octshard.webdataset.decoder(".vol.zst", second["vol.zst"])
    octshard.webdataset.decoder(".json", first["json"])
    octshard.webdataset.decoder(".json", b'{"label": 3}')  # another file's, with no voxels to it
    with pytest.raises(UsageError, match="without the json"):
        octshard.webdataset.decoder(".vol.zst", first["vol.zst"])


def test_damaged_voxels_are_an_error_that_names_the_sample(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 1})
    (sample,) = webdataset.WebDataset(str(tmp_path / "train-000000.tar"), shardshuffle=False)
    frame = bytearray(sample["vol.zst"])
    for data in (bytes(frame[:-1]), bytes([*frame[:-1], frame[-1] ^ 1])):  # cut; another checksum
        octshard.webdataset.decoder(".json", sample["json"])
        with pytest.raises(BadSample, match=f"sample {sample['__key__']}"):
            octshard.webdataset.decoder(".vol.zst", data)


def test_other_members_are_left_to_webdataset() -> None:
    assert octshard.webdataset.decoder(".cls", b"3") is None
    assert octshard.webdataset.decoder(".json", b'{"a": 1}') == {"a": 1}


def test_a_handler_of_gs_that_somebody_set_stays() -> None:
    code = (
        "from webdataset.gopen import gopen_schemes; mine = print; gopen_schemes['gs'] = mine; "
        "import octshard; octshard.webdataset.decoder; "
        "assert gopen_schemes['gs'] is mine; "
        "assert gopen_schemes['s3'] is octshard.webdataset.open_url"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_writing_stays_with_webdatasets_own_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        sys.modules["webdataset.gopen"], "gopen_gsutil", lambda url, mode, bufsize: opened.append((url, mode))
    )
    octshard.webdataset.open_url("gs://bucket/new.tar", "wb")
    assert opened == [("gs://bucket/new.tar", "wb")]
    with pytest.raises(UsageError, match="mode 'wb', want 'rb'"):
        octshard.webdataset.open_url("memory://new.tar", "wb")


def test_every_name_of_the_package_is_there_without_webdataset() -> None:
    code = (
        "import sys; sys.modules['webdataset'] = None; from octshard import *; import octshard; "
        "print(webdataset.decoder('.json', b'{}'), all(hasattr(octshard, name) for name in dir(octshard)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{} True\n"
