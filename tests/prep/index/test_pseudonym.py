"""Pseudonyms: stable, salted, of one person however the id is spelled; and salts that are none."""

import hashlib
import hmac
from pathlib import Path

import pytest

from octshard.dataset import participants
from octshard.errors import UsageError
from octshard.prep.index import pseudonym

SALT = bytes(range(16))


def test_a_pseudonym_is_a_keyed_hash_of_the_person() -> None:
    digest = hmac.new(SALT, b"person 1001", hashlib.sha256).hexdigest()
    assert pseudonym.of("1001", SALT) == f"p{digest[:16]}"
    assert pseudonym.of("01001.0", SALT) == pseudonym.of("1001", SALT)
    assert pseudonym.of("1001", SALT) != pseudonym.of("1001", SALT[::-1])
    names = {pseudonym.of(str(i), SALT) for i in range(1000)}
    assert {participants.canonical(name) for name in names} == names
    assert len(names) == 1000


def test_dates_of_a_person_keep_their_distance_and_no_other_person_moves_alike() -> None:
    a, b = (pseudonym.shifted(day, "1", SALT) for day in ("2020-02-28", "2020-03-01"))
    assert int(b.replace("-", "")) - int(a.replace("-", "")) > 0
    assert a != "2020-02-28" != pseudonym.shifted("2020-02-28", "2", SALT) != a
    assert pseudonym.shifted("", "1", SALT) == ""
    assert pseudonym.shifted("0001-01-01", "1", SALT) == "0001-01-01"


@pytest.mark.parametrize("salt", [b"", b"short", b"x" * 64, b"abcabc" * 10])
def test_a_salt_that_is_no_secret_is_refused_with_how_to_make_one(tmp_path: Path, salt: bytes) -> None:
    path = tmp_path / "salt"
    path.write_bytes(salt)
    with pytest.raises(UsageError, match=r"want at least 16 random bytes; make one with: head -c 32"):
        pseudonym.read_salt(str(path))


def test_a_salt_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(SALT)
    assert pseudonym.read_salt(str(tmp_path / "salt")) == SALT
    with pytest.raises(UsageError, match="no such salt file; make one with"):
        pseudonym.read_salt(str(tmp_path / "none"))


def test_a_path_and_a_uid_are_hashed_each_in_its_own_role() -> None:
    digest = hmac.new(SALT, b"path A/b.dcm", hashlib.sha256).hexdigest()
    assert pseudonym.of_path("A/b.dcm", SALT) == f"s{digest[:20]}"
    number = int(hmac.new(SALT, b"uid 1.2.3", hashlib.sha256).hexdigest()[:32], 16)
    assert pseudonym.of_uid("1.2.3", SALT) == f"2.25.{number}"
    assert pseudonym.of_uid("", SALT) == ""
    assert pseudonym.of_path("1.2.3", SALT)[1:] not in pseudonym.of_uid("1.2.3", SALT)
