"""A URL: as whom the store is asked, whether it answers, and (if asked to) whether it can be written."""

import uuid

from octshard.doctor import resources
from octshard.doctor.checks import Check
from octshard.errors import OctshardError
from octshard.extras import install_advice
from octshard.storage import conditions, remote, store
from octshard.storage.errors import one_line

ANSWER_S = 150.0  # a silent store is given up before this
NETWORK = "check the URL, the network, and any proxy (HTTPS_PROXY, NO_PROXY) or endpoint set for this store"
DATA = b"octshard doctor\n"


def checks(url: str, write: bool) -> list[Check]:
    """Lists the URL; a local one has its disk checked too. With `write`, something small is written there."""
    listing = check_list(url)
    if not store.is_remote(url):
        return [listing, check_disk(str(store.local_path(url)), write=write)]
    return [listing, check_write(url)] if write and listing.status != "fail" else [listing]


def check_list(url: str) -> Check:
    """Lists the URL, and says as whom."""
    try:
        names = store.list_names(url)
        whom = f"as {remote.client_for(url).account()}" if store.is_remote(url) else "on this machine"
    except OctshardError as error:
        return refusal("list", url, error)
    if names or store.exists(url):
        return Check("list", "pass", f"{len(names)} names, {whom}")
    advice = "fine for a new target; for a source, check the path"
    return Check("list", "warn", f"nothing stands there, {whom}", advice)


def check_disk(path: str, *, write: bool) -> Check:
    """Free space where the folder is or would be; with `write`, whether a file can be made there."""
    if write:
        return resources.check_folder("disk", path, resources.DISK_BYTES)
    return Check("disk", "pass", f"{resources.gigabytes(store.free_bytes(path) or 0)} free")


def check_write(url: str) -> Check:
    """Puts a small remote object under a name of its own, reads it back and removes it.

    Whether it is put on conditions is found out too, because the lock of a target depends on it.
    """
    place = store.join(url, f"octshard-doctor-{uuid.uuid4().hex}")
    try:
        store.write(place, DATA)
        try:
            data = store.read(place)
        finally:
            store.remove(place)
        heeded = conditions.heeded(place)
    except (OctshardError, FileNotFoundError) as error:
        return refusal("write", url, error)
    if data != DATA:
        return Check("write", "fail", f"{len(data)} bytes came back, others than were put", NETWORK)
    if not heeded:
        advice = (
            "fine; should two runs ever want one target, docs/design/storage.md says what its lock promises"
        )
        text = "written and read, but this store heeds no conditions, so locks are settled by listing"
        return Check("write", "warn", text, advice)
    return Check("write", "pass", "written, read back and removed")


def refusal(name: str, url: str, error: Exception) -> Check:
    """The store's own line; its advice, where it ends in one, is the check's."""
    text = one_line(error)
    own = (*remote.ADVICE.values(), "ask its owner", install_advice("gcs"), install_advice("s3"))
    for advice in own:
        if text.endswith(f"; {advice}"):
            return Check(name, "fail", text.removesuffix(f"; {advice}"), advice)
    return Check(name, "fail", text, NETWORK if store.is_remote(url) else "choose a folder that you may use")
