"""What the name of a scan file tells: AI-READI's PERSON_PROTOCOL_MODALITY_EYE_UID.dcm, and names like it."""

import re

from octshard.dataset import participants
from octshard.dataset.eyes import EYES
from octshard.prep.release import scan_path

UNKNOWN = "unknown"  # a protocol that no name tells
MODALITIES = {"oct", "opt", "octa"}
SUFFIX = re.compile(  # of the formats that are read
    r"\.(dcm|png|bmp|jpe?g|mat|npy|npz|nii(\.gz)?|tiff?|mha|mhd|nrrd|nhdr|hdr|vol|e2e|sdb|fda|fds|oct|img)",
    re.IGNORECASE,
)


def protocol_of(path: str, participant: str) -> str:
    """The file name without person, modality, eye and UID: 1_a_3d_oct_l_2.25.1.dcm -> a_3d."""
    words = _words(path, participant)
    if words and re.fullmatch(r"[0-9.]{5,}", words[-1]):
        words = words[:-1]
    for tail in ({"l", "r"}, MODALITIES):
        if words and words[-1].lower() in tail:
            words = words[:-1]
    return "_".join(words) or UNKNOWN


def eye_in_name(path: str, participant: str) -> str:
    """L or R if the file's name has one word for an eye, anywhere in it; empty if it has none or both."""
    words = {word for part in _words(path, participant) for word in part.lower().split("-")}
    eyes = {EYES[word] for word in words & EYES.keys()}
    return eyes.pop() if len(eyes) == 1 else ""


def _words(path: str, participant: str) -> list[str]:
    """The parts of a file's name, without its suffix and the person that it begins with."""
    name = scan_path.file_of(path.rstrip("/").rsplit("/", 1)[-1])
    suffix = next((match for match in SUFFIX.finditer(name) if match.end() == len(name)), None)
    words = (name[: suffix.start()] if suffix else name).split("_")
    return words[1:] if words[0] in (participant, participants.canonical(participant)) else words


def uid_in(path: str) -> str:
    """The UID at the end of a DICOM file's name; empty if there is none."""
    name = scan_path.file_of(path)
    if scan_path.is_folder(path) or (SUFFIX.search(name) and not name.lower().endswith(".dcm")):
        return ""
    last = (_words(path, "") or [""])[-1]  # a row may name no file
    return last if re.fullmatch(r"[0-9]+(\.[0-9]+)+", last) else ""
