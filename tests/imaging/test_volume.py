"""Keys, refusals, checks of a volume and the arithmetic of its tokens."""

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.imaging import volume
from octshard.imaging.volume import SampleKey, Volume
from octshard.prep.refusals import Refused

KEY = SampleKey.of("1001", "topcon_triton", "macula_6x6", "L", "1.2.3")


def random_volume(shape: tuple[int, int, int], dtype: type = np.uint8) -> Volume:
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    return Volume(KEY, voxels, (0.06, 0.004, 0.012))


def test_valid_tokens_of_a_padded_volume() -> None:
    # 50x96x286 voxels in 32x192x192: cropped to 32x96x192, so 8 x 6 x 12 = 576 of 1,152 tokens hold a voxel
    assert volume.valid_tokens((50, 96, 286), (32, 192, 192), (4, 16, 16)) == (8, 6, 12)
    assert volume.valid_tokens((1, 17, 1), (32, 192, 192), (4, 16, 16)) == (1, 2, 1)


def test_key_has_no_dot_and_names_the_scan() -> None:
    key = str(SampleKey.of("7001", "topcon_triton", "3d radial.v2", "L", "1.2.3.4"))
    assert "." not in key
    assert key.startswith("7001-topcon_triton-3d_radial_v2-L-")
    assert key != str(SampleKey.of("7001", "topcon_triton", "3d radial.v2", "L", "1.2.3.5"))


def test_a_key_fits_into_a_tar_and_is_cut_only_where_it_must() -> None:
    longest = SampleKey.of("1" * 16, "heidelberg_spectralis", "p" * 50, "L", "1.2.3")
    assert str(longest) == f"{'1' * 16}-heidelberg_spectralis-{'p' * 40}-L-{longest.digest}"
    assert len(str(longest)) == 92
    for participant in ("1" * 17, "1" * 70, "1" * 500):
        keys = [
            str(SampleKey.of(participant, "heidelberg_spectralis", "p" * 50, "L", uid))
            for uid in ("1.2", "1.3")
        ]
        assert {len(key) for key in keys} == {92}
        assert len({key[-10:] for key in keys}) == 2
        assert all(key.startswith("1" * 17) and "." not in key for key in keys)


def test_volumes_are_checked_and_read_only() -> None:
    with pytest.raises(OctshardError, match="want uint8 or uint16"):
        Volume(KEY, np.zeros((2, 2, 2), np.float32), (1, 1, 1))
    with pytest.raises(OctshardError, match="want all three > 0"):
        Volume(KEY, np.zeros((2, 2, 2), np.uint8), (0, 1, 1))
    assert not random_volume((2, 2, 2)).voxels_DHW.flags.writeable


def test_refusals_come_from_the_closed_list() -> None:
    assert Refused("truncated", "x").reason == "truncated"
    with pytest.raises(ValueError, match="not one of"):
        Refused("bad_luck", "x")
