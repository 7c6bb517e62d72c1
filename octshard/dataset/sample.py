"""One stored sample by its row, from wherever its shard is: for programs and pictures, not for the stream."""

from octshard.dataset import shard, tables
from octshard.dataset.shard import BadSample
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError
from octshard.storage import store
from octshard.storage.errors import OutOfRange


def read(folder: str, row: SampleRow) -> shard.Sample:
    """The sample of `row` in the dataset `folder`, verified; an OctshardError names shard, offset and key.

    A remote one that is not what was written is read once more: its bytes may have been altered on their way.
    """
    try:
        return _read(folder, row)
    except BadSample:
        if not store.is_remote(folder):
            raise
        return _read(folder, row)


def _read(folder: str, row: SampleRow) -> shard.Sample:
    url = store.join(folder, row.shard)
    location = f"{url} at {row.offset} ({row.key})"
    if row.offset is None or row.nbytes is None:
        raise OctshardError(f"{location}: the row has no offset or size; {tables.REBUILD}")
    try:
        data = store.read_range(url, row.offset, row.offset + row.nbytes)
    except FileNotFoundError:
        raise OctshardError(f"{location}: the shard is missing; run octshard prep verify") from None
    except OutOfRange as error:
        raise BadSample(f"{location}: {error}; the shard was cut; run octshard prep verify") from error
    except store.StoreError as error:
        raise OctshardError(f"{location}: {error}") from error
    packed = shard.open_slice(data, row.key, row.xxh3, location)
    if packed.shape != row.shape_out:  # before memory is taken for it
        raise BadSample(f"{location}: shape {packed.shape}, want {row.shape_out} as in {tables.SAMPLES}")
    if row.dtype and packed.dtype != row.dtype:
        raise BadSample(f"{location}: {packed.dtype}, want {row.dtype} as in {tables.SAMPLES}")
    return packed.unpack()
