"""A file of weights that somebody else wrote, as torch or safetensors write them. No code in it is run."""

import argparse
import hashlib
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError

from octshard.errors import UsageError
from octshard.models.checkpoint import UNREADABLE
from octshard.storage import store
from octshard.storage.errors import NotAFile

SAFETENSORS = ".safetensors"  # the end of a name; other files are torch's
HARMLESS: list[Any] = [argparse.Namespace]  # settings that scripts store beside their weights


def read(path: str, wanted: str) -> tuple[Any, str]:
    """The content of a file and its sha256; UsageError if there is none, or it cannot be read.

    wanted: what the path should be instead, for the error. Of torch's files never all bytes are held beside
    the tensors.
    """
    try:
        with store.open_read(path) as file:
            sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
            file.seek(0)
            if path.endswith(SAFETENSORS):
                return safetensors.torch.load(file.read()), sha256
            with torch.serialization.safe_globals(HARMLESS):
                return torch.load(file, map_location="cpu", weights_only=True), sha256
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file, want {wanted}") from None
    except NotAFile as error:
        raise UsageError(f"{error}; want {wanted}") from None
    except SafetensorError as error:
        raise UsageError(f"{path}: no whole safetensors file, want weights by name") from error
    except (*UNREADABLE, OSError) as error:  # OSError: torch seeks before the beginning of a short file
        raise UsageError(
            f"{path}: torch cannot load it ({type(error).__name__}), want weights by name"
        ) from error
