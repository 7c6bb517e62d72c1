"""Damage to bytes, whatever they mean: flipped, cut out, filled, repeated, exchanged, or made extreme."""

import struct
from collections.abc import Callable

from tests.support.damage.case import Rng

Kind = Callable[[bytes, Rng], tuple[str, bytes]]


def _place(data: bytes, rng: Rng) -> int:
    """A byte: often in the header, often in the last third (where pixels lie), often where a codec begins."""
    marks = [m for m in (data.find(b"\xff\x4f\xff\x51"), data.find(b"\xff\xd8\xff")) if m > 0]
    draw = rng.random()
    if marks and draw < 0.4:
        return min(len(data) - 1, marks[0] + int(rng.integers(120)))
    low, high = (132, len(data)) if draw < 0.7 else (2 * len(data) // 3, len(data))
    return int(rng.integers(min(low, len(data) - 1), high))


def _span(data: bytes, rng: Rng) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + 1 + int(rng.geometric(0.02)))


def _flip(data: bytes, rng: Rng) -> tuple[str, bytes]:
    damaged = bytearray(data)
    places = [_place(data, rng) for _ in range(int(rng.integers(1, 9)))]
    for at in places:
        damaged[at] ^= int(rng.integers(1, 256))
    return f"bytes {sorted(places)} flipped", bytes(damaged)


def _drop(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    return f"[{start}, {stop}) cut out", data[:start] + data[stop:]


def _zero(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    fill = bytes([int(rng.choice([0, 255]))])
    return f"[{start}, {stop}) filled with {fill!r}", data[:start] + fill * (stop - start) + data[stop:]


def _double(data: bytes, rng: Rng) -> tuple[str, bytes]:
    start, stop = _span(data, rng)
    times = int(rng.choice([1, 1, 2, 50]))
    return f"[{start}, {stop}) repeated {times} times", data[:stop] + data[start:stop] * times + data[stop:]


def _swap(data: bytes, rng: Rng) -> tuple[str, bytes]:
    a, b = sorted(_place(data, rng) for _ in range(2))
    n = min(b - a, len(data) - b, 64)
    moved = data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]
    return f"{n} bytes at {a} and {b} exchanged", moved


def tail(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Cut anywhere."""
    stop = int(rng.integers(0, len(data)))
    return f"cut at {stop}", data[:stop]


def _behind(data: bytes, rng: Rng) -> tuple[str, bytes]:
    extra = rng.bytes(int(rng.integers(1, 200)))
    return f"{len(extra)} random bytes behind the end", data + extra


def _number(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Lengths and counts are 2 or 4 bytes; somewhere one of them becomes extreme."""
    at = min(_place(data, rng) & ~1, len(data) - 4)
    form, value = [("<I", 0xFFFFFFFF), ("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFE), ("<H", 0xFFFF), ("<I", 0)][
        int(rng.integers(5))
    ]
    raw = struct.pack(form, value)
    return f"{form} {value:#x} at {at}", data[:at] + raw + data[at + len(raw) :]


KINDS: dict[str, Kind] = {
    "flip": _flip, "drop": _drop, "zero": _zero, "double": _double, "swap": _swap, "tail": tail,
    "behind": _behind, "number": _number,
}  # fmt: skip
