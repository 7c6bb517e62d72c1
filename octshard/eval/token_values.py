"""Stored tokens of all scans in one padded array for each source: what a head that reads tokens is given."""

from collections.abc import Sequence

import numpy as np

from octshard.eval import token_files
from octshard.eval.features import FeatureRequest, Source, TokenSource, digest_of
from octshard.imaging.tiles import View, shape_of
from octshard.imaging.volume import Shape, product, valid_tokens
from octshard.storage import store


def read(sources: Sequence[Source], request: FeatureRequest, folder: str) -> dict[str, np.ndarray]:
    """Source -> x_NTF of those that are tokens, 0 behind the last token of a scan, as the table has them."""
    values = {}
    for source in sources:
        if isinstance(source, TokenSource):
            digest = digest_of(source, request)
            url = store.join(folder, token_files.folder_name(source.origin.name, digest))
            stored = token_files.TokenFolder(url, len(request.scans), digest)
            scans = [stored.read(row) for row in range(stored.scans)]
            values[source.origin.source] = token_files.padded(scans).z_BVF
    return values


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
