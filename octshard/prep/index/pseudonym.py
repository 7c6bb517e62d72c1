"""A person's pseudonym: a salted hash, the same wherever the same salt is used."""

import datetime
import hashlib
import hmac

from octshard.dataset.participants import canonical
from octshard.errors import UsageError
from octshard.storage import store

LEAST_BYTES = 16  # of a salt: as many as can never be tried out
LEAST_DIFFERENT = 8  # among them: fewer are no random bytes
HOW = "make one with: head -c 32 /dev/urandom > SALT_FILE, and keep it where the data is not"
MOST_SHIFT = 36_500  # days


def read_salt(url: str) -> bytes:
    """The salt in a file; UsageError if it is missing, or too short or too even to be a secret."""
    try:
        salt = store.read(url)
    except FileNotFoundError:
        raise UsageError(f"{url}: no such salt file; {HOW}") from None
    if len(salt) < LEAST_BYTES or len(set(salt)) < LEAST_DIFFERENT:
        found = f"{len(salt)} bytes, {len(set(salt))} of them different"
        raise UsageError(f"{url}: a salt of {found}, want at least {LEAST_BYTES} random bytes; {HOW}")
    return salt


def of(person: str, salt: bytes) -> str:
    """16 hex digits behind a letter, so that no spelling of it is taken for a number."""
    return f"p{_digest(salt, 'person', canonical(person)).hex()[:16]}"


def shifted(date: str, person: str, salt: bytes) -> str:
    """A date moved by days that only the salt tells, all dates of a person alike; empty stays empty."""
    if not date:
        return ""
    days = int.from_bytes(_digest(salt, "shift", canonical(person))[:8]) % MOST_SHIFT
    day = datetime.date.fromisoformat(date)
    return (day - datetime.timedelta(min(days, day.toordinal() - 1))).isoformat()


def of_uid(uid: str, salt: bytes) -> str:
    """A UID in place of another one, of the form that DICOM has for random ones; empty stays empty."""
    return f"2.25.{int.from_bytes(_digest(salt, 'uid', uid)[:16])}" if uid else ""


def of_path(path: str, salt: bytes) -> str:
    """What stands for a path in shards and tables: 20 hex digits behind a letter."""
    return f"s{_digest(salt, 'path', path).hex()[:20]}"


def _digest(salt: bytes, role: str, text: str) -> bytes:
    return hmac.digest(salt, f"{role} {text}".encode(errors="surrogateescape"), hashlib.sha256)
