"""What lies directly in a folder, local or remote, with what tells whether a file has changed."""

import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from octshard.storage import local, remote, store
from octshard.storage.client import Client, call

# of a remote object, whichever its store tells
VERSIONS = ("generation", "ETag", "etag", "updated", "LastModified", "created", "mtime")


class Listed(NamedTuple):
    """One name. version: another text for other bytes. problem: why it is neither file nor folder."""

    name: str
    is_folder: bool
    size: int
    version: str
    problem: str = ""


def entries(url: str) -> list[Listed]:
    """All names in a folder, sorted, without half-written files; FileNotFoundError if there is no folder."""
    listed = _remote(url) if store.is_remote(url) else _local(url.removeprefix("file://"))
    return sorted([entry for entry in listed if entry.name[0] != "." or not local.is_partial(entry.name)])


def _local(path: str) -> list[Listed]:
    try:
        with os.scandir(path) as folder:
            return [_of_entry(entry) for entry in folder]
    except OSError as error:
        with local.one_line_errors(path):
            raise error


def _of_entry(entry: "os.DirEntry[str]") -> Listed:
    try:
        if entry.is_dir(follow_symlinks=False):  # which mostly needs no look at the disk
            return Listed(entry.name, True, 0, "")
        status = entry.stat()
    except FileNotFoundError:
        return Listed(entry.name, False, 0, "", "a link that leads nowhere")
    except OSError as error:
        return Listed(entry.name, False, 0, "", str(error.strerror))
    if stat.S_ISREG(status.st_mode):
        return Listed(entry.name, False, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")
    if stat.S_ISDIR(status.st_mode):  # it may lead back to where it lies
        return Listed(entry.name, False, 0, "", "a link to a folder, which is not followed")
    return Listed(entry.name, False, 0, "", "a pipe, a socket or a device")


def _remote(url: str) -> list[Listed]:
    infos = remote.request(url, lambda client: _list(client, url))
    own = url.split("://", 1)[1].strip("/")
    named = ((str(info["name"]).strip("/"), info) for info in infos)
    return [_of_info(path.rsplit("/", 1)[-1], info) for path, info in named if path != own]


def _list(client: Client, url: str) -> list[Mapping[str, Any]]:
    return list(call(client.fs, "ls", url, detail=True, refresh=True))


def _of_info(name: str, info: Mapping[str, Any]) -> Listed:
    if info["type"] == "directory":
        return Listed(name, True, 0, "")
    size = int(info.get("size") or 0)
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
    return Listed(name, False, size, f"{size}-{version}")
