"""One writer per target; what died holds nothing, and whoever may have lost the lock writes nothing."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from octshard.errors import OctshardError
from octshard.storage import claims, conditions, lease, lock, remote, store
from octshard.storage.lease import LostLease
from octshard.storage.store import StoreError
from tests.support.emulators import BUCKET
from tests.support.faulty_store import LOST, RESET, STALL, FaultyStore


class Clock:
    """Seconds that pass only when somebody waits or a test says so; on_wait is called at each wait."""

    def __init__(self) -> None:
        self.now, self.waited = 1000.0, 0.0
        self.on_wait: Callable[[], object] = lambda: None

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds
        self.on_wait()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(lease, "clock", lambda: fake.now)
    monkeypatch.setattr(lease, "pause", fake.pause)
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)
    return fake


KINDS = ["memory", "gs", "s3", "refusing", "ignoring", pytest.param("moto", marks=pytest.mark.s3)]
VERSIONED = [kind for kind in KINDS if kind not in ("refusing", "ignoring")]
SETTLED = ["refusing", "ignoring"]  # by listing: the store refuses conditions as B2 does, or ignores them


def target_of(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = uuid.uuid4().hex
    monkeypatch.setattr(conditions, "_known", {})
    if kind == "memory":
        return f"memory://{name}"
    if kind == "moto":
        return f"{request.getfixturevalue('s3')}/{name}"
    faulty = request.getfixturevalue("faulty")
    if kind in SETTLED:
        faulty.conditions = {"refusing": "refused", "ignoring": "ignored"}[kind]
    return f"{'gs' if kind == 'gs' else 's3'}://faulty/{name}"


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh folder on each remote store: those that heed the condition of a put, and those that do not."""
    return target_of(request.param, request, monkeypatch)


@pytest.fixture(params=VERSIONED)
def versioned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return target_of(request.param, request, monkeypatch)


@pytest.fixture(params=SETTLED)
def settled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return target_of(request.param, request, monkeypatch)


def held(folder: str) -> contextlib.AbstractContextManager[None]:
    return lock.one_writer(store.join(folder, "lock"), folder)


def test_one_writer_per_target(root: str) -> None:
    url = store.join(root, "lock")
    with (
        lock.one_writer(url, root),
        pytest.raises(OctshardError, match="is writing here, want one writer"),
        lock.one_writer(url, root),
    ):
        pass
    with lock.one_writer(url, root):
        store.write(store.join(root, "a"), b"x")
    assert [name for name in store.list_names(root) if name != "lock"] == ["a"]


def test_a_killed_run_holds_no_lock(tmp_path: Path) -> None:
    url = str(tmp_path / "lock")
    code = """import sys; from octshard.storage import lock
with lock.one_writer(sys.argv[1], '.'): print('held', flush=True); sys.stdin.read()"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OctshardError, match=f"process {holder.pid} on"), lock.one_writer(url, "."):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lock.one_writer(url, "."):
        pass


@pytest.mark.parametrize("kind", ["gs", *SETTLED])
def test_a_run_killed_on_this_machine_is_found_dead_at_once(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    target = target_of(kind, request, monkeypatch)
    code = """import sys; from octshard.storage import lock
with lock.one_writer(sys.argv[1] + '/lock', sys.argv[1]): print('held', flush=True); sys.stdin.read()"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with held(target):
        store.write(f"{target}/a", b"x")
    assert clock.waited == 0
    assert store.list_names(target) == ["a"]


def test_a_lock_that_cannot_be_written_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match=r"^/dev/full: ") as caught, lock.one_writer("/dev/full", "/dev"):
        pass
    assert "\n" not in str(caught.value)


def test_a_lock_that_does_not_fit_on_the_disk_is_one_clear_line(tmp_path: Path) -> None:
    code = """import resource, sys; from octshard.storage import lock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as a full disk: the file is made, a write fails
with lock.one_writer(sys.argv[1], '.'): print('held')"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True
    )
    assert result.stdout == ""
    assert f"StoreError: {tmp_path / 'lock'}: larger than a file may be" in result.stderr.splitlines()[-1]


def other(token: str = "0", beat: int = 0, when: float = 0.0) -> bytes:
    """The lock of a run on another machine."""
    return json.dumps({"token": token, "host": "elsewhere", "pid": 1, "time": when, "beat": beat}).encode()


def put_other(target: str, beat: int = 0, when: float = 0.0) -> None:
    """Puts it as this store's kind of lock, or its next renewal."""
    url = f"{target}/lock"
    store.write(url if conditions.heeded(url) else f"{url}.claims/0", other("0", beat, when))


@pytest.mark.parametrize("when", [0.0, 1e12], ids=["old", "in the future"])
def test_a_lock_that_nobody_renews_is_taken_over(target: str, when: float, clock: Clock) -> None:
    """After 90 s by the clock of the looker, whatever time stands in it."""
    put_other(target, when=when)
    with held(target):
        assert 90 <= clock.waited <= 100
        store.write(f"{target}/a", b"x")
    assert store.list_names(target) == ["a"]


@pytest.mark.parametrize("when", [0.0, 1e12], ids=["old", "in the future"])
def test_a_lock_that_is_renewed_is_held(target: str, when: float, clock: Clock) -> None:
    put_other(target, when=when)
    clock.on_wait = lambda: clock.waited >= 85 and put_other(target, beat=1, when=when)
    with pytest.raises(OctshardError, match="process 1 on elsewhere is writing here"), held(target):
        pass
    assert 85 <= clock.waited < 90


def test_a_lock_that_is_given_back_is_taken(target: str, clock: Clock) -> None:
    put_other(target)
    url = f"{target}/lock"
    clock.on_wait = lambda: (store.remove(url), store.remove(f"{url}.claims/0"))
    with held(target):
        assert clock.waited == lease.LOOK_S


def test_a_kept_lease_grows_younger(target: str, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.001)
    with held(target):
        mine = lease_of(target)
        for _ in range(4):
            clock.now += 60
            eventually(lambda: mine.end == clock.now + 80)
            store.write(f"{target}/a", b"x")
    assert store.list_names(target) == ["a"]


@pytest.mark.parametrize("race", range(3))
def test_of_takers_at_once_one_wins(target: str, race: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if target.startswith(f"s3://{BUCKET}"):
        pytest.skip("moto looks at the condition and writes in two moves")
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease, "pause", lambda seconds: time.sleep(0.01))
    conditions.heeded(f"{target}/lock")
    outcomes, together, end = [], threading.Barrier(3), threading.Barrier(3)

    def take() -> None:
        together.wait(30)
        try:
            with held(target):
                outcomes.append("held")
                end.wait(30)
        except OctshardError as error:
            outcomes.append(str(error).split(": ", 1)[1][:7])
            end.wait(30)

    takers = [threading.Thread(target=take) for _ in range(3)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(outcomes) == ["held", "process", "process"]
    assert store.list_names(target) == []


def test_of_two_takers_of_a_dead_lock_one_wins(
    versioned: str, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Both have seen that it is dead before either writes."""
    put_other(versioned)
    put, meet, end, outcomes = store.put_if_version, threading.Barrier(2), threading.Barrier(2), []
    one_by_one = threading.Lock()

    def meet_then_put(url: str, data: bytes, version: str) -> str | None:
        meet.wait(30)
        with one_by_one:
            return put(url, data, version)

    monkeypatch.setattr(store, "put_if_version", meet_then_put)

    def take() -> None:
        try:
            with held(versioned):
                outcomes.append("held")
                end.wait(30)
        except OctshardError as error:
            outcomes.append(str(error).split(": ", 1)[1][:7])
            end.wait(30)

    takers = [threading.Thread(target=take) for _ in range(2)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(outcomes) == ["held", "process"]


def test_a_claim_put_after_the_listing_of_another_withdraws(
    settled: str, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Though it comes first by name: what holds is renewed, and the claim that came later goes."""
    with held(settled):
        (token,) = store.list_names(f"{settled}/lock.claims")
        monkeypatch.setattr(lease, "is_held_here", lambda token: False)  # as from another machine
        looks = iter(range(100))
        clock.on_wait = lambda: store.write(f"{settled}/lock.claims/{token}", other(token, next(looks)))
        late = claims.ClaimLock(f"{settled}/lock", lock.holders.decode(other("+")))  # type: ignore[arg-type]
        late._others = lambda names: []  # type: ignore[method-assign]  # it lists before the other puts
        late_others = claims.ClaimLock._others
        put = store.write

        def put_then_list(url: str, data: bytes) -> None:
            put(url, data)
            late._others = lambda names: late_others(late, names)  # type: ignore[method-assign]

        monkeypatch.setattr(claims.store, "write", put_then_list)
        with pytest.raises(OctshardError, match="is writing here"):
            late.take()
        assert store.list_names(f"{settled}/lock.claims") == [token]


@pytest.mark.parametrize("fault", [503, RESET, LOST])
@pytest.mark.parametrize("kind", ["gs", "s3", *SETTLED])
def test_a_lock_outlives_faults(
    fault: str | int, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, faulty = target_of(kind, request, monkeypatch), request.getfixturevalue("faulty")
    conditions.heeded(f"{target}/lock")
    faulty.fail(fault, when="POST|PUT")
    with held(target):
        assert not faulty.faults
        store.write(f"{target}/a", b"x")
    assert store.list_names(target) == ["a"]


def eventually(condition: Callable[[], object]) -> None:
    """Waits for another thread."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_faults_shorter_than_the_lease_cost_nothing(
    target: str, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """45 s in which no renewal succeeds, and the lease is still ours, and is renewed after them."""
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(lock, "RETRY_S", 0.001)
    failures = 0
    with held(target):
        mine = lease_of(target)
        request = remote.change

        def failing(url: str, operation: object) -> object:
            nonlocal failures
            if url.startswith(mine.url):
                failures += 1
                raise StoreError(f"{url}: gave up after 6 attempts: 503")
            return request(url, operation)  # type: ignore[arg-type]

        monkeypatch.setattr(remote, "change", failing)
        eventually(lambda: failures)
        clock.now += 45
        begin, end = failures, mine.end
        eventually(lambda: failures > begin + 5)
        store.write(f"{target}/a", b"still ours")
        assert mine.end == end
        monkeypatch.setattr(remote, "change", request)
        eventually(lambda: mine.end > end)
        clock.now += 45
        store.write(f"{target}/a", b"and later")
    assert store.read(f"{target}/a") == b"and later"


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """As in another process, which does not know of the leases of this one."""
    leases, lease._held = lease._held, {}
    yield
    lease._held = leases


CHANGES = [
    ("write", lambda target: store.write(f"{target}/a", b"late")),
    ("create", lambda target: store.write(f"{target}/new", b"late")),
    ("remove", lambda target: store.remove(f"{target}/a")),
    ("copy", lambda target: store.copy(__file__, f"{target}/a")),
    ("put if", lambda target: store.put_if_version(f"{target}/new", b"late", "")),
]


@pytest.mark.parametrize("name", [name for name, _ in CHANGES])
def test_after_a_pause_longer_than_the_lease_nothing_is_written(target: str, name: str, clock: Clock) -> None:
    """The machine was suspended for 125 s, and another run has begun meanwhile."""
    change = dict(CHANGES)[name]

    def run() -> None:
        with held(target):
            store.write(f"{target}/a", b"early")
            clock.now += 125
            with elsewhere():
                store.write(f"{target}/a", b"another's")
            change(target)

    with pytest.raises(LostLease, match=r"the lock was lost while writing .* nothing more is written"):
        run()
    assert store.read(f"{target}/a") == b"another's"
    assert "new" not in store.list_names(target)


def test_the_end_of_a_lease_ends_a_write_that_is_under_way(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A write that began in time does not linger until another run may hold the target."""
    target = f"gs://faulty/{uuid.uuid4().hex}"
    start = time.monotonic()
    monkeypatch.setattr(lease, "clock", lambda: clock.now + time.monotonic() - start)

    def run() -> None:
        with held(target):
            clock.now += 79.8
            faulty.fail(*[STALL] * 9, when="POST")
            store.write(f"{target}/a", b"late")

    with pytest.raises(LostLease):
        run()
    assert f"{target}/a" not in [f"gs://faulty/{key}" for key in faulty.objects]


def test_a_lease_that_was_taken_over_ends_in_an_error(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    url = f"{target}/lock"

    def steal() -> None:
        if conditions.heeded(url):
            store.write(url, other("thief"))
        else:
            for name in store.list_names(f"{url}.claims"):
                store.remove(f"{url}.claims/{name}")

    def run() -> None:
        with held(target):
            with elsewhere():
                eventually(lambda: steal() or not is_beating(target))
            store.write(f"{target}/a", b"late")

    with pytest.raises(LostLease, match="another run has taken it"):
        run()
    assert not store.exists(f"{target}/a")
    assert not conditions.heeded(url) or json.loads(store.read(url))["token"] == "thief"


def lease_of(target: str) -> lease.Lease:
    (mine,) = (one for one in lease._held.values() if one.url == f"{target}/lock")
    return mine


def is_beating(target: str) -> bool:
    return any(thread.name == f"lease of {target}/lock" for thread in threading.enumerate())


def test_a_second_run_goes_on_where_the_first_lost_its_lease(target: str, clock: Clock) -> None:
    """Two runs in one process, of which the first is deaf for 125 s: only one writes at any time."""
    written: list[str] = []
    first_ready, second_done = threading.Event(), threading.Event()
    errors = []

    def first() -> None:
        try:
            with held(target):
                written.append("first")
                first_ready.set()
                assert second_done.wait(30)
                store.write(f"{target}/a", b"first")
                written.append("first again")
        except OctshardError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_ready.wait(30)
    mine = lease_of(target)
    clock.now += 125
    lease.drop(mine)  # the second run is another process: it does not know the first
    with held(target):
        lease.hold(mine)
        second_done.set()
        thread.join()
        lease.drop(mine)
        store.write(f"{target}/a", b"second")
    assert written == ["first"]
    assert isinstance(errors[0], LostLease)
    assert store.read(f"{target}/a") == b"second"
    assert store.list_names(target) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        b"[1]", b"", b"{", b"{}", b'{"token": "x", "time": "noon"}', b"\xff", b'{"token": 1, "time": 1}',
        b"[" * 100_000, b'{"token": "x", "time": 1, "pid": Infinity}',
        b'{"token": "x", "time": 1%s}' % (b"0" * 400),
    ],
    ids=lambda text: repr(text[:40]),
)  # fmt: skip
def test_a_lock_that_makes_no_sense_holds_nobody(text: bytes) -> None:
    target = f"memory://{uuid.uuid4().hex}"
    store.write(f"{target}/lock", text)
    with held(target):
        pass


def test_a_folder_that_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="cannot be written"), lock.one_writer("/proc/nowhere/lock", "/proc"):
        pass


def test_folders_of_similar_names_have_leases_of_their_own(clock: Clock) -> None:
    root = f"memory://{uuid.uuid4().hex}"

    def run() -> None:
        with held(f"{root}/run"):
            clock.now += 125
            store.write(f"{root}/run2/a", b"x")
            store.write(f"{root}/a", b"x")

    with pytest.raises(LostLease):
        run()
    assert store.list_names(root) == ["a", "run", "run2"]


@pytest.mark.parametrize(("kind", "heeds"), [("heeded", True), ("refused", False), ("ignored", False)])
def test_conditions_are_found_out_once_per_bucket(
    kind: str, heeds: bool, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_known", {})
    faulty.conditions = kind
    assert conditions.heeded("s3://faulty/a/lock") is heeds
    asked = len(faulty.asked)
    assert asked <= 6  # s3 looks at each refusal again
    assert conditions.heeded("s3://faulty/b/lock") is heeds
    assert len(faulty.asked) == asked
    assert faulty.objects == {}
