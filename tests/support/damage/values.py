"""Header values that are well formed and wrong: of the image's shape, its bits, its levels, its frames."""

import struct
from collections.abc import Callable

from tests.support.damage import dicom_tree
from tests.support.damage.case import CODEC, GEOMETRY, Damage, Rng, outcomes, pick
from tests.support.damage.dicom_tree import PIXEL_DATA, Node, Tree, item

Mutator = Callable[[Tree, Rng], Damage]
REFUSED = f"unreadable not_oct frame_count too_large empty no_pixel_data {CODEC}"
SHORTS = {
    "rows": (0x00280010, (0, 1, 16, 31, 33, 64, 96, 65535)),
    "columns": (0x00280011, (0, 1, 12, 23, 25, 32, 48, 65535)),
    "allocated": (0x00280100, (0, 1, 8, 12, 16, 24, 32, 64)),
    "stored": (0x00280101, (0, 1, 7, 8, 9, 10, 12, 15, 16, 17, 32)),
    "high bit": (0x00280102, (0, 3, 7, 10, 11, 14, 15, 65535)),
    "sign": (0x00280103, (0, 1, 2, 65535)),
    "samples": (0x00280002, (0, 1, 2, 3, 4)),
}
TEXTS = {
    "frames": (
        0x00280008,
        b"IS",
        b"-1|0 |1 |2 |3 |5 |8 |4.0 |+4| 4|4\\4 |4e0 |1e9 |99999999999999|0x4 ".split(b"|"),
    ),
    "photometric": (
        0x00280004,
        b"CS",
        b"MONOCHROME1 |MONOCHROME2 |monochrome2 |RGB |PALETTE COLOR |".split(b"|"),
    ),
    "class": (
        0x00080016,
        b"UI",
        (b"1.2.840.10008.5.1.4.1.1.77.1.5.4", b"1.2.840.10008.5.1.4.1.1.88.11\0", b""),
    ),
}
SLOPES = (
    b"1 ",
    b"0 ",
    b"-1",
    b"0.5 ",
    b"2 ",
    b"1e-9",
    b"1e9 ",
    b"nan ",
    b"inf ",
    b"1\\2 ",
    b"",
    b"1,5 ",
    b"1e400 ",
)
OFFSETS = (b"0 ", b"-100", b"1000", b"1e6 ", b"-1e308", b"x ", b"", b"0.25")


def numbers(tree: Tree, rng: Rng) -> Damage:
    """One to three of the numbers that say how pixels are read."""
    texts = []
    for _ in range(int(rng.integers(1, 4))):
        name = pick(rng, [*SHORTS, *TEXTS])
        if name in SHORTS:
            tag, choices = SHORTS[name]
            value, vr = tree.short(int(pick(rng, choices))), b"US"
        else:
            tag, vr, words = TEXTS[name]
            value = pick(rng, words)
        tree.nodes[:] = [node for node in tree.nodes if node.tag != tag]
        if rng.random() < 0.9:
            tree.insert(Node(tag, vr, value))
        texts.append(f"{name}={value!r}")
    return Damage(", ".join(texts), dicom_tree.write(tree), outcomes("ok", REFUSED))


def bits(tree: Tree, rng: Rng) -> Damage:
    """Bits stored, high bit, sign and photometric form contradict the pixels and each other."""
    texts = []
    for name in rng.permutation(["stored", "high bit", "sign"])[: int(rng.integers(1, 4))]:
        tag, choices = SHORTS[str(name)]
        value = int(pick(rng, choices))
        tree.get(tag).value = tree.short(value)
        texts.append(f"{name}={value}")
    if rng.random() < 0.5:
        value = pick(rng, (b"MONOCHROME1 ", b"MONOCHROME2 "))
        tree.get(0x00280004).value = value
        texts.append(value.decode())
    if rng.random() < 0.3 and isinstance(node_value := tree.get(PIXEL_DATA).value, bytes):
        tree.get(PIXEL_DATA).value = rng.bytes(len(node_value))
        texts.append("random pixels")
    return Damage(", ".join(texts), dicom_tree.write(tree), outcomes("ok unreadable decoder_error"))


def levels(tree: Tree, rng: Rng) -> Damage:
    """RescaleSlope and Intercept at the top, shared or frame by frame, some nonsense, some missing."""
    place = pick(rng, ("top", "shared", "frames", "some frames", "all"))
    texts = [place]

    def pair() -> list[Node]:
        slope, intercept = pick(rng, SLOPES), pick(rng, OFFSETS)
        texts.append(f"{slope.decode()}x+{intercept.decode()}")
        nodes = [Node(0x00281052, b"DS", intercept), Node(0x00281053, b"DS", slope)]
        return nodes[: int(pick(rng, (2, 2, 2, 1, 0)))]

    if place in ("top", "all"):
        for node in pair():
            tree.insert(node)
    groups = []
    if place in ("shared", "all"):
        groups += tree.get(0x52009229).value
    if place in ("frames", "some frames", "all"):
        frames = tree.get(0x52009230).value
        groups += frames if place != "some frames" else [f for f in frames if rng.random() < 0.5]
    for group in groups:
        group.value.append(Node(0x00289145, b"SQ", [item(*pair())]))  # type: ignore[union-attr]
    return Damage(" ".join(texts)[:200], dicom_tree.write(tree), outcomes("ok unreadable"))


def groups(tree: Tree, rng: Rng) -> Damage:
    """Functional groups: of other frames than there are, empty, thousands, of another form, swapped."""
    per_frame = tree.get(0x52009230)
    frames = per_frame.value
    assert isinstance(frames, list)
    what = pick(rng, ("fewer", "more", "empty", "thousands", "value", "gone", "order", "coordinates"))
    words = f"ok unreadable frame_count {GEOMETRY}"
    if what == "fewer":
        del frames[int(rng.integers(len(frames))) :]
    elif what == "more":
        frames += frames[: int(rng.integers(1, 4))]
    elif what == "empty":
        frames[int(rng.integers(len(frames)))].value = []
    elif what == "thousands":
        frames += [item() for _ in range(int(rng.integers(1000, 20_000)))]
    elif what == "value":
        per_frame.vr, per_frame.value = pick(rng, (b"OB", b"UN", b"UT")), rng.bytes(40)
        words += " truncated no_pixel_data"
    elif what == "gone":
        tree.nodes.remove(per_frame)
    elif what == "order":
        frames[:] = [frames[i] for i in rng.permutation(len(frames))]
    else:
        for node in per_frame.walk():
            if node.tag == 0x00220032:
                count = int(pick(rng, (0, 1, 2, 3, 4, 5, 1000)))
                node.value = struct.pack(f"{tree.order}{count}f", *rng.normal(500, 300, count))
    return Damage(f"frame groups: {what}", dicom_tree.write(tree), outcomes(words))


MUTATORS: dict[str, Mutator] = {"numbers": numbers, "bits": bits, "levels": levels, "frame groups": groups}
