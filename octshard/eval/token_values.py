"""Stored tokens of all scans in one padded array for each source: what a head that reads tokens is given."""

from collections.abc import Iterator, Sequence

import numpy as np

from octshard.eval import token_files
from octshard.eval.features import FeatureRequest, Source, TokenSource, digest_of
from octshard.eval.token_files import TokenFolder
from octshard.imaging.tiles import View, shape_of
from octshard.imaging.volume import Shape, product, valid_tokens


class TokenDraws:
    """x_NTF of several folders of tokens, 0 behind the last token of a scan; each is read when asked for."""

    def __init__(self, folders: Sequence[TokenFolder]) -> None:
        self._folders = folders

    def __len__(self) -> int:
        return len(self._folders)

    def __getitem__(self, place: int) -> np.ndarray:
        folder = self._folders[place]
        return token_files.padded([folder.read(row) for row in range(folder.scans)]).z_BVF

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))


def folders(sources: Sequence[Source], request: FeatureRequest, folder: str) -> dict[str, TokenFolder]:
    """Source -> the tokens in the table of those that are tokens."""
    there = {}
    for source in sources:
        if isinstance(source, TokenSource):
            digest = digest_of(source, request)
            url = token_files.folder_url(folder, source.origin.name, digest)
            there[source.origin.source] = TokenFolder(url, len(request.scans), digest)
    return there


def most_tokens(view: View, shapes: Sequence[Shape]) -> int:
    """Of any scan."""
    counts = {
        shape: sum(
            product(valid_tokens(shape_of(window), view.image_size, view.patch))
            for window in view.windows(shape)
        )
        for shape in set(shapes)
    }
    return max(counts.values())
