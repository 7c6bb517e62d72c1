"""The plan of requests: each sample in one group at most, groups whole and bounded, bytes counted."""

import itertools
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from octshard.stream.request_plan import ByteRange, RequestPlan

SHARD_SIZES = (  # bytes of the samples of three shards, laid end to end
    (3, 3, 3, 3, 3, 3, 3, 3),
    (1, 9, 2, 8, 3, 7),
    (20, 1),
)
SAMPLES = [
    (f"{shard}.tar", sum(sizes[:i]), sum(sizes[: i + 1]))
    for shard, sizes in enumerate(SHARD_SIZES)
    for i in range(len(sizes))
]
equal_samples = [("0.tar", 10 * i, 10 * i + 10) for i in range(16)]


class PlanMachine(RuleBasedStateMachine):
    """Any sequence of calls, beside a second account of them in plain sets and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.request_bytes, self.min_near = 8, 2
        self.plan = RequestPlan(self.request_bytes, self.min_near)
        self.submitted: list[ByteRange] = []
        self.waiting: set[int] = set()
        self.withdrawn: set[int] = set()
        self.groups: list[list[ByteRange]] = []
        self.released: set[int] = set()
        self.shared: list[list[int]] = []  # numbers of groups that hold one reply
        self.repeated: set[tuple[str, int, int]] = set()  # bytes that waited twice at the same time

    @rule(place=st.sampled_from(SAMPLES))
    def submit(self, place: tuple[str, int, int]) -> None:
        if any(place_of(self.submitted[number]) == place for number in self.waiting):
            self.repeated.add(place)
        sample = self.plan.submit(*place)
        assert sample == ByteRange(len(self.submitted), *place)
        self.submitted.append(sample)
        self.waiting.add(sample.number)

    @rule(shard=st.sampled_from(range(len(SHARD_SIZES))))
    def submit_a_whole_shard(self, shard: int) -> None:
        for place in SAMPLES:
            if place[0] == f"{shard}.tar":
                self.submit(place)

    @rule()
    def next_group(self) -> None:
        group = self.plan.next_group()
        head = min(self.waiting, default=None)
        submitted, released = len(self.submitted), len(self.released)
        near = max(self.min_near, -((released - submitted) // 2))  # rounded up
        if head is None or head >= released + near:
            assert group == []
            return
        self.check_group(head, group)
        self.waiting -= {sample.number for sample in group}
        self.groups.append(group)
        self.check_nothing_more_fits(group)

    def check_group(self, head: int, group: list[ByteRange]) -> None:
        numbers = [sample.number for sample in group]
        assert head in numbers
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= self.waiting
        assert group == [self.submitted[number] for number in numbers]
        assert len({sample.url for sample in group}) == 1
        for before, after in itertools.pairwise(group):
            assert before.stop == after.start
        if len(group) > 1:  # without the one that joined last it was smaller than a request
            last = group[-1] if numbers[0] == head else group[0]
            assert sum(sample.size for sample in group) - last.size < self.request_bytes

    def check_nothing_more_fits(self, group: list[ByteRange]) -> None:
        if group[-1].stop - group[0].start >= self.request_bytes:
            return
        for number in self.waiting:
            sample = self.submitted[number]
            if sample.url == group[0].url and place_of(sample) not in self.repeated:
                assert sample.start != group[-1].stop
                assert sample.stop != group[0].start

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        self.plan.withdraw(self.submitted[number])
        self.waiting.remove(number)
        self.withdrawn.add(number)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def withdraw_what_is_in_a_group(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.groups))
        self.plan.withdraw(group[0])

    @precondition(lambda self: self.groups)
    @rule()
    def share_the_last_group(self) -> None:
        numbers = [sample.number for sample in self.groups[-1]]
        if numbers not in self.shared and not self.released & set(numbers):
            self.plan.share_buffer(self.groups[-1])
            self.shared.append(numbers)

    @precondition(lambda self: len(self.released) < len(self.withdrawn) + sum(map(len, self.groups)))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        read = self.withdrawn | {sample.number for group in self.groups for sample in group}
        number = data.draw(st.sampled_from(sorted(read - self.released)))
        self.plan.release(self.submitted[number])
        self.released.add(number)

    @invariant()
    def every_sample_is_in_one_place(self) -> None:
        grouped = [sample.number for group in self.groups for sample in group]
        places = sorted([*self.waiting, *self.withdrawn, *grouped])
        assert places == list(range(len(self.submitted)))

    @invariant()
    def held_bytes_are_counted(self) -> None:
        together = {number: numbers for numbers in self.shared for number in numbers}
        held = sum(
            sample.size
            for sample in self.submitted
            if not set(together.get(sample.number, [sample.number])) <= self.released
        )
        assert self.plan.held_bytes == held


def place_of(sample: ByteRange) -> tuple[str, int, int]:
    return sample.url, sample.start, sample.stop


PlanMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlanMachine = PlanMachine.TestCase


@given(
    st.lists(st.sampled_from(SAMPLES), max_size=60),
    st.integers(1, 40),
    st.integers(0, 6),
    st.integers(1, 9),
)
def test_a_consumer_in_order_gets_every_sample(
    places: list[tuple[str, int, int]], request_bytes: int, min_near: int, most_unreleased: int
) -> None:
    """Whatever the sizes, the sample that is waited for is always in a group; at the end nothing is held."""
    plan = RequestPlan(request_bytes, min_near)
    submitted: list[ByteRange] = []
    read: set[int] = set()
    for turn in range(len(places)):
        while len(submitted) < min(len(places), turn + most_unreleased):
            submitted.append(plan.submit(*places[len(submitted)]))
        while group := plan.next_group():
            read |= {sample.number for sample in group}
        assert turn in read
        plan.release(submitted[turn])
    assert plan.held_bytes == 0
    assert read == set(range(len(places)))


@given(st.permutations(equal_samples), st.integers(1, 60))
def test_a_shuffled_block_is_read_in_few_requests(
    places: list[tuple[str, int, int]], request_bytes: int
) -> None:
    """All 16 submitted: the groups are the runs that a search over plain sets of places finds."""
    plan = RequestPlan(request_bytes, min_near=len(places))
    for place in places:
        plan.submit(*place)
    missing = set(range(16))
    for _, start, _ in places:
        head = start // 10
        if head not in missing:
            continue
        first = last = head
        while 10 * (last + 1 - first) < request_bytes and last + 1 in missing:
            last += 1
        while 10 * (last + 1 - first) < request_bytes and first - 1 in missing:
            first -= 1
        group = plan.next_group()
        assert (group[0].start, group[-1].stop) == (10 * first, 10 * last + 10)
        missing -= set(range(first, last + 1))
    assert plan.next_group() == []


def submit_all(plan: RequestPlan, places: list[tuple[str, int, int]]) -> list[ByteRange]:
    return [plan.submit(*place) for place in places]


def drained(next_group: Callable[[], list[ByteRange]]) -> list[list[int]]:
    """Numbers in all the groups that are due."""
    return [[sample.number for sample in group] for group in iter(next_group, [])]


def test_only_the_near_half_is_due() -> None:
    """16 shards of one sample: 8 are due; with two more submitted, or two released, the ninth is."""
    apart = [(f"{i}.tar", 0, 10) for i in range(16)]
    plan = RequestPlan(14, min_near=0)
    submit_all(plan, apart)
    assert drained(plan.next_group) == [[i] for i in range(8)]
    submit_all(plan, apart[:2])
    assert drained(plan.next_group) == [[8]]
    plan = RequestPlan(14, min_near=0)
    samples = submit_all(plan, apart)
    assert len(drained(plan.next_group)) == 8
    plan.release(samples[0])  # of the 15 that remain, 8 are near
    assert drained(plan.next_group) == [[8]]


def test_min_near_samples_are_due_however_few_are_submitted() -> None:
    plan = RequestPlan(14, min_near=3)
    submit_all(plan, [(f"{i}.tar", 0, 10) for i in range(4)])
    assert drained(plan.next_group) == [[0], [1], [2]]


def test_neighbours_on_both_sides_come_along_even_from_the_far_half() -> None:
    plan = RequestPlan(100, min_near=0)
    submit_all(plan, [equal_samples[i] for i in (5, 3, 6, 4, 1)])
    assert [sample.start for sample in plan.next_group()] == [30, 40, 50, 60]
    assert [sample.start for sample in plan.next_group()] == []  # number 4 of 5 is far


def test_a_group_ends_with_the_sample_that_makes_it_a_whole_request() -> None:
    """Samples of 10 bytes and requests of 25: the third ends it, and those before the head come last."""
    plan = RequestPlan(25, min_near=9)
    submit_all(plan, [equal_samples[i] for i in (4, 5, 6, 7, 3, 0, 1)])
    assert drained(plan.next_group) == [[0, 1, 2], [3], [4], [5, 6]]


def test_a_withdrawn_sample_is_in_no_group_and_parts_its_neighbours() -> None:
    plan = RequestPlan(100, min_near=9)
    samples = submit_all(plan, equal_samples[:5])
    plan.withdraw(samples[2])
    assert drained(plan.next_group) == [[0, 1], [3, 4]]


def test_of_equal_samples_the_first_joins_its_neighbours() -> None:
    """The second waits for its own request; withdrawing it leaves the first in its place."""
    after = [equal_samples[0], equal_samples[1], equal_samples[1]]
    before = [equal_samples[1], equal_samples[0], equal_samples[0]]
    plan = RequestPlan(100, min_near=9)
    submit_all(plan, after)
    assert drained(plan.next_group) == [[0, 1], [2]]
    for places, group in ((after, [0, 1]), (before, [1, 0])):
        plan = RequestPlan(100, min_near=9)
        plan.withdraw(submit_all(plan, places)[2])
        assert drained(plan.next_group) == [group]


def test_a_shared_buffer_counts_until_its_last_sample_is_released() -> None:
    """Four samples of 10 bytes in one reply, the fifth alone."""
    plan = RequestPlan(40, min_near=9)
    samples = submit_all(plan, equal_samples[:5])
    assert plan.held_bytes == 50
    plan.share_buffer(plan.next_group())
    held = []
    for sample in samples:
        plan.release(sample)
        held.append(plan.held_bytes)
    assert held == [50, 50, 50, 10, 0]
