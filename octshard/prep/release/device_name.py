"""The name of a device: of its folder in DST, and what --device asks for."""

import re

from octshard.dataset import participants
from octshard.errors import UsageError
from octshard.imaging.volume import DEVICES
from octshard.prep import lengths
from octshard.prep.release import scan_path, zip_path

LONGEST = 64
SAFE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST - 1}}}", re.ASCII)
ALL = "all"  # what --device takes for every device
UNKNOWN = "unknown"  # of scans of which nobody can tell
NO_NAMES = {ALL, *lengths.SILENT} - {UNKNOWN}  # a table reads most as an empty cell
MODEL_WORDS = {
    word: device for device in DEVICES for word in device.split("_")[1:]
}  # "triton" -> topcon_triton


def check(name: str, location: str) -> str:
    """`name`, if it can be a folder beside those of other devices; else a UsageError."""
    if SAFE.fullmatch(name) and name.lower() not in NO_NAMES:
        return name
    raise UsageError(
        f"{location}: device {name!r:.99} names a folder of DST; want at most {LONGEST} of A-Z a-z 0-9 _ -, "
        f"such as topcon_triton; not {ALL} or none"
    )


def of_text(text: str) -> str:
    """A safe name made of any text, in small letters.

    Empty if the text has no letter or digit of ASCII, or spells a missing value.
    """
    if text.strip().lower() in lengths.SILENT:
        return ""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:LONGEST].strip("_")
    return f"{words}_device" if words == ALL else words


def of_scan(path: str, model: str) -> str:
    """One of ours: that a folder above the scan is called as, else that of the model; empty if none is."""
    for folder in scan_path.folders_above(path):
        if folder in DEVICES:
            return folder
    text = model.lower().replace(" ", "")
    return next((device for word, device in MODEL_WORDS.items() if word in text), "")


def folder_of(path: str, participant: str) -> str:
    """Of a device that is none of ours, as releases have it: DEVICE/PERSON/FILE; else empty.

    The person's folder must be called as the person: where it is not, any folder may be somebody's.
    """
    *_, device, person = ["", "", *path.rstrip("/").split("/")[:-1]]
    who = participants.canonical(participant)
    if participants.canonical(zip_path.stem(person)) != who or participants.canonical(device) == who:
        return ""
    return "" if device in (scan_path.STRUCTURAL, scan_path.HOME) or zip_path.is_name(device) else device
