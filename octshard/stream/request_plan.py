"""Which samples the next request reads: a plan as plain data, without threads, locks or I/O.

Samples are submitted in the order of their use. Neighbours in a shard are read by one request; samples that
are used late wait until they come nearer, so that more of their neighbours can join their request.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Where the bytes of one submitted sample lie: [start, stop) of the shard at `url`."""

    number: int  # in the order of submission, from 0
    url: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stop - self.start


@dataclass
class _Buffer:
    """Memory that is held until the last of its samples is released."""

    size: int
    samples: int


class RequestPlan:
    """Samples wait from `submit` until they are in a group or withdrawn; their bytes count until `release`.

    request_bytes: a group ends with the sample that brings it to this size. min_near: so many samples
    from the oldest unreleased one on may be read at any time, however few are submitted.
    """

    def __init__(self, request_bytes: int, min_near: int) -> None:
        self._request_bytes, self._min_near = request_bytes, min_near
        self._waiting: dict[int, ByteRange] = {}  # by number, so in order
        self._by_start: dict[tuple[str, int], ByteRange] = {}  # the waiting ones by shard and first byte
        self._by_stop: dict[tuple[str, int], ByteRange] = {}  # and by the byte behind the last
        self._buffers: dict[int, _Buffer] = {}  # by number, of the samples that are not released
        self._submitted = self._released = self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that are in memory, on their way, or waiting to be read."""
        return self._held_bytes

    def submit(self, url: str, start: int, stop: int) -> ByteRange:
        """Adds a sample behind all others. The same bytes may be submitted again."""
        sample = ByteRange(self._submitted, url, start, stop)
        self._submitted += 1
        self._held_bytes += sample.size
        self._buffers[sample.number] = _Buffer(sample.size, 1)
        self._waiting[sample.number] = sample
        self._by_start.setdefault((url, start), sample)
        self._by_stop.setdefault((url, stop), sample)
        return sample

    def next_group(self) -> list[ByteRange]:
        """What the next request reads, in the order of the shard and without gaps; empty if nothing is due.

        The oldest waiting sample leads. It is due if it stands in the near half of what is submitted and not
        released: the far half is left until more of its neighbours are submitted. First the samples behind
        it join, then those before it.
        """
        head = next(iter(self._waiting.values()), None)
        if head is None or not self._is_near(head):
            return []
        group, size = [head], head.size
        self.withdraw(head)
        while size < self._request_bytes and (after := self._by_start.get((head.url, group[-1].stop))):
            group.append(after)
            size += after.size
            self.withdraw(after)
        while size < self._request_bytes and (before := self._by_stop.get((head.url, group[0].start))):
            group.insert(0, before)
            size += before.size
            self.withdraw(before)
        return group

    def withdraw(self, sample: ByteRange) -> None:
        """The sample waits no longer, for its consumer reads it; no change if it is in a group already."""
        self._waiting.pop(sample.number, None)
        if self._by_start.get((sample.url, sample.start)) == sample:
            del self._by_start[sample.url, sample.start]
        if self._by_stop.get((sample.url, sample.stop)) == sample:
            del self._by_stop[sample.url, sample.stop]

    def share_buffer(self, group: list[ByteRange]) -> None:
        """One reply holds the bytes of the whole group: they count until its last sample is released."""
        buffer = _Buffer(sum(sample.size for sample in group), len(group))
        for sample in group:
            self._buffers[sample.number] = buffer

    def release(self, sample: ByteRange) -> None:
        """The bytes of the sample are not needed any more; once for each sample."""
        self._released += 1
        buffer = self._buffers.pop(sample.number)
        buffer.samples -= 1
        if buffer.samples == 0:
            self._held_bytes -= buffer.size

    def _is_near(self, sample: ByteRange) -> bool:
        half = (self._submitted - self._released + 1) // 2
        return sample.number < self._released + max(self._min_near, half)
