"""Who was trained on: recognised again, without an id in the file."""

import hashlib
from io import BytesIO

import numpy as np
import torch

from octshard.dataset import participant_digests
from octshard.dataset.participant_digests import digest_participants, from_payload

SALT = "0123456789abcdef"


def test_those_of_the_set_are_recognised_and_nobody_else() -> None:
    known = digest_participants(["1002", "1001", "1001", ""], SALT)
    assert known.members(["1001", "1003", "1002", ""]) == {"1001", "1002"}
    assert digest_participants([], SALT).members(["1001"]) == frozenset()


def test_a_number_written_in_another_way_is_the_same_person() -> None:
    known = digest_participants(["1001", "AB"], SALT)
    assert known.members(["01001", "1001.0", "1001.5", "ab", "AB "]) == {"01001", "1001.0", "AB "}


def test_a_digest_is_blake2b_under_the_salt() -> None:
    expected = hashlib.blake2b(b"1001", digest_size=8, salt=SALT.encode()).digest()
    values_P = digest_participants(["1001"], SALT).values_P
    assert values_P.tolist() == [int.from_bytes(expected, "little", signed=True)]
    assert values_P.tolist() != digest_participants(["1001"], SALT[::-1]).values_P.tolist()


def test_it_goes_round_through_a_checkpoint_and_holds_no_id() -> None:
    people = [f"person-{i}" for i in range(1000)]
    known = digest_participants(people, SALT)
    assert known.values_P.tolist() == sorted(known.values_P.tolist())
    file = BytesIO()
    torch.save(known.payload(), file)
    assert b"person-" not in file.getvalue()
    assert len(file.getvalue()) < 8 * 1000 + 3000
    again = from_payload(torch.load(BytesIO(file.getvalue()), weights_only=True))
    assert again is not None
    assert again.salt == SALT
    np.testing.assert_array_equal(again.values_P, known.values_P)


def test_what_another_version_wrote_is_unknown() -> None:
    payload = digest_participants(["1001"], SALT).payload()
    assert from_payload({**payload, "version": participant_digests.VERSION + 1}) is None
    assert from_payload(None) is None
