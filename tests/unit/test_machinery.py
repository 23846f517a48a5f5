"""Queue, deadlines, cache and comparison: what every reconciler stands on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.api.meta import Object
from slipway.cache import ObjectCache, pod_view
from slipway.errors import Conflict, Unavailable
from slipway.reconcilers import deadlines as deadlines_module
from slipway.reconcilers import queue as queue_module
from slipway.reconcilers.children import covers
from slipway.reconcilers.deadlines import Deadlines
from slipway.reconcilers.queue import WorkQueue
from tests.support.objects import CREATED
from tests.support.until import until

# queue


@asynccontextmanager
async def working(reconcile: Callable[[str], Awaitable[None]], workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(workers, "Stack")
    task = asyncio.create_task(queue.run(reconcile))
    try:
        yield queue
        assert not task.done(), "the workers have ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_key_waits_at_most_once() -> None:
    done: list[str] = []

    async def reconcile(key: str) -> None:
        done.append(key)

    async with working(reconcile) as queue:
        for key in ("a", "b", "a", "a", "c", "b"):
            queue.add(key)
        assert len(queue) == 3
        await turns()
        assert done == ["a", "b", "c"]
        queue.add("a")
        await turns()
        assert done == ["a", "b", "c", "a"]


async def test_a_key_is_never_worked_on_twice_at_once_and_once_more_if_added_meanwhile() -> None:
    active: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    gate = asyncio.Event()

    async def reconcile(key: str) -> None:
        active[key] += 1
        assert active[key] == 1
        runs[key] += 1
        await gate.wait()
        active[key] -= 1

    async with working(reconcile) as queue:
        queue.add("a")
        await turns()
        for _ in range(5):
            queue.add("a")
            await turns(2)
        queue.add("b")
        await turns()
        assert runs == {"a": 1, "b": 1}, "others go on meanwhile"
        gate.set()
        await turns()
        assert runs == {"a": 2, "b": 1}


async def test_no_more_than_its_workers_at_once() -> None:
    active = most = 0

    async def reconcile(_: str) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1

    async with working(reconcile, workers=3) as queue:
        for number in range(20):
            queue.add(str(number))
        await turns(60)
        assert (len(queue), active, most) == (0, 0, 3)


async def test_backing_off_grows_has_a_bound_and_starts_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module.RANDOM, "uniform", lambda low, high: 1.0)
    delays: list[float] = []
    failing, count = True, 0

    async def reconcile(key: str) -> None:
        if failing:
            raise Unavailable("not now")

    async with working(reconcile) as queue:
        loop = asyncio.get_running_loop()

        real = loop.call_later

        def call_later(delay: float, callback: Callable[..., None], *args: Any) -> Any:
            if callback != queue.add:
                return real(delay, callback, *args)
            delays.append(delay)
            return loop.call_soon(callback, *args)

        monkeypatch.setattr(loop, "call_later", call_later)
        queue.add("a")
        await until(lambda: len(delays) > 10)
        failing = False
        await turns()
        count = len(delays)
        failing = True
        queue.add("a")
        await until(lambda: len(delays) > count)
        failing = False
        await turns()
        monkeypatch.undo()
    assert delays[:10] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert delays[count] == 0.1, "a success forgets earlier failures"


async def test_keys_do_not_march_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: set[float] = set()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, *_: delays.add(delay))
    queue = WorkQueue(1, "Stack")
    for number in range(20):
        queue._back_off(str(number), Conflict("changed"))
    monkeypatch.undo()
    assert len(delays) > 10
    assert all(0.08 <= delay <= 0.12 for delay in delays)


@pytest.mark.parametrize(
    ("error", "level"),
    [(Conflict("changed"), "DEBUG"), (Unavailable("away"), "WARNING"), (KeyError("bug"), "ERROR")],
)
async def test_a_key_that_fails_stops_no_other(
    error: Exception, level: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG", "slipway")
    monkeypatch.setattr(queue_module, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(queue_module, "LONGEST_DELAY", 0.001)
    runs: Counter[str] = Counter()

    async def reconcile(key: str) -> None:
        runs[key] += 1
        if key == "bad":
            raise error

    async with working(reconcile, workers=1) as queue:
        queue.add("bad")
        for number in range(5):
            queue.add(str(number))
        await until(lambda: runs["bad"] >= 3)
        assert all(runs[str(number)] == 1 for number in range(5))
    assert {r.levelname for r in caplog.records} == {level}


# deadlines


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = CREATED
        outer = self

        class Frozen(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return outer.now.astimezone(tz or UTC)

        monkeypatch.setattr(deadlines_module, "datetime", Frozen)

    def at(self, seconds: float) -> datetime:
        return CREATED + timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def due_at(deadlines: Deadlines, fired: list[str], time: Time, seconds: float) -> list[str]:
    """Who is due when the clock shows that."""
    time.now = time.at(seconds)
    fired.clear()
    deadlines._fire()
    return list(fired)


def test_deadlines_come_in_order_and_once(time: Time) -> None:
    fired: list[str] = []
    deadlines = Deadlines(fired.append)
    for key, seconds in (("late", 30), ("soon", 10), ("middle", 20), ("same", 20)):
        deadlines.set(key, time.at(seconds))
    assert due_at(deadlines, fired, time, 9.999) == []
    assert due_at(deadlines, fired, time, 10) == ["soon"]
    assert due_at(deadlines, fired, time, 25) == ["middle", "same"]
    assert due_at(deadlines, fired, time, 99) == ["late"]
    assert due_at(deadlines, fired, time, 999) == []


def test_the_deadline_set_last_counts(time: Time) -> None:
    fired: list[str] = []
    deadlines = Deadlines(fired.append)
    deadlines.set("later", time.at(10))
    deadlines.set("later", time.at(20))
    deadlines.set("sooner", time.at(20))
    deadlines.set("sooner", time.at(5))
    deadlines.set("back", time.at(10))
    deadlines.set("back", time.at(20))
    deadlines.set("back", time.at(10))
    assert due_at(deadlines, fired, time, 5) == ["sooner"]
    assert due_at(deadlines, fired, time, 15) == ["back"]
    assert due_at(deadlines, fired, time, 50) == ["later"]


def test_a_dropped_deadline_never_comes(time: Time) -> None:
    fired: list[str] = []
    deadlines = Deadlines(fired.append)
    deadlines.set("a", time.at(10))
    deadlines.drop("a")
    deadlines.drop("nobody")
    assert due_at(deadlines, fired, time, 50) == []
    deadlines.set("a", time.at(60))
    assert due_at(deadlines, fired, time, 60) == ["a"]


def test_setting_the_same_again_costs_nothing(time: Time) -> None:
    deadlines = Deadlines(lambda _: None)
    for _ in range(100):
        deadlines.set("a", time.at(10))
    assert len(deadlines._heap) == 1


async def test_the_clock_is_watched() -> None:
    """With real time, and little of it."""
    fired: list[str] = []
    deadlines = Deadlines(fired.append)
    task = asyncio.create_task(deadlines.run())
    await turns()
    now = datetime.now(UTC)
    deadlines.set("never", now + timedelta(hours=1))
    await turns()
    deadlines.set("soon", now + timedelta(milliseconds=10))  # wakes the one that sleeps until `never`
    deadlines.set("past", now - timedelta(hours=1))
    await until(lambda: fired == ["past", "soon"])
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# cache


def an_object(uid: str, version: int, owner: str = "", name: str = "", **metadata: Any) -> Object:
    given = {"uid": uid, "name": name or f"name-{uid}", "resourceVersion": str(version), **metadata}
    if owner:
        given["ownerReferences"] = [{"uid": "other"}, {"uid": owner, "controller": True}]
    return {"metadata": given}


def versions(cache: ObjectCache) -> dict[str, int]:
    return {o["metadata"]["uid"]: int(o["metadata"]["resourceVersion"]) for o in cache}


def test_an_older_version_changes_nothing() -> None:
    cache = ObjectCache()
    for version in (9, 10, 2, 10):
        cache.put(an_object("a", version))
    assert versions(cache) == {"a": 10}
    assert cache.get("b") is None
    assert len(cache) == 1


def test_what_was_deleted_does_not_come_back() -> None:
    cache = ObjectCache()
    cache.put(an_object("a", 1, "o"))
    cache.remove(an_object("a", 2, "o"))
    cache.put(an_object("a", 3, "o"))
    cache.remove(an_object("never-seen", 4))
    cache.put(an_object("never-seen", 3))
    assert versions(cache) == {}
    assert cache.owned_by("o") == {}


def test_deletions_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.cache.REMEMBERED", 3)
    cache = ObjectCache()
    for number in range(10):
        cache.remove(an_object(str(number), number))
    assert list(cache._deleted) == ["7", "8", "9"]


def test_children_are_found_by_owner_and_name() -> None:
    cache = ObjectCache()
    cache.put(an_object("a", 1, "o", "x"))
    cache.put(an_object("b", 2, "o", "y"))
    cache.put(an_object("c", 3, "p", "x"))
    cache.put(an_object("d", 4))
    assert sorted(cache.owned_by("o")) == ["x", "y"]
    assert cache.owned_by("nobody") == cache.owned_by("other") == {}
    cache.remove(an_object("a", 5, "o", "x"))
    assert list(cache.owned_by("o")) == ["y"]


def test_a_child_that_changes_its_owner() -> None:
    cache = ObjectCache()
    cache.put(an_object("a", 1, "o", "x"))
    cache.put(an_object("a", 2, "p", "x"))
    assert cache.owned_by("o") == {}
    assert list(cache.owned_by("p")) == ["x"]
    cache.put(an_object("a", 3, "", "x"))
    assert cache.owned_by("p") == {}


def test_a_list_tells_what_the_watch_missed() -> None:
    cache = ObjectCache()
    for uid, version in (("same", 1), ("old", 2), ("gone", 3), ("newer-than-the-list", 50)):
        cache.put(an_object(uid, version, "o"))
    listed = [an_object("same", 1, "o"), an_object("old", 7, "o"), an_object("new", 8, "o")]
    gone, fresh = cache.replace(listed, "40")
    assert [o["metadata"]["uid"] for o in gone] == ["gone"]
    assert {o["metadata"]["uid"] for o in fresh} == {"old", "new"}
    assert versions(cache) == {"same": 1, "old": 7, "new": 8, "newer-than-the-list": 50}
    assert sorted(cache.owned_by("o")) == ["name-new", "name-newer-than-the-list", "name-old", "name-same"]
    assert cache.replace(listed, "40") == ([], [])
    cache.put(an_object("gone", 60, "o"))
    assert "gone" not in versions(cache)


VERBS, UIDS, OWNERS = st.sampled_from(["put", "remove"]), st.sampled_from("abc"), st.sampled_from(["", "o", "p"])
STEPS = st.lists(st.tuples(VERBS, UIDS, st.integers(1, 20), OWNERS), max_size=30)


@settings(max_examples=80)
@given(STEPS)
def test_the_index_never_strays_from_the_objects(steps: list[tuple[str, str, int, str]]) -> None:
    cache = ObjectCache()
    deleted = set()
    newest: dict[str, tuple[int, str]] = {}
    for verb, uid, version, owner in steps:
        if verb == "remove":
            cache.remove(an_object(uid, version, owner))
            deleted.add(uid)
            newest.pop(uid, None)
        else:
            cache.put(an_object(uid, version, owner))
            if uid not in deleted and version > newest.get(uid, (0, ""))[0]:
                newest[uid] = (version, owner)
    assert versions(cache) == {uid: version for uid, (version, _) in newest.items()}
    for owner in ("o", "p"):
        expected = {f"name-{uid}" for uid, (_, of) in newest.items() if of == owner}
        assert set(cache.owned_by(owner)) == expected


def test_views_keep_what_is_read() -> None:
    cache = ObjectCache()
    cache.put(an_object("a", 1, managedFields=[{"x": "y"}], labels={"a": "b"}))
    kept = cache.get("a")
    assert kept
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["labels"] == {"a": "b"}
    pod = an_object("p", 1, "o", deletionTimestamp="t", creationTimestamp="c", managedFields=[]) | {
        "spec": {"nodeName": "n", "containers": [{}]},
        "status": {"phase": "Running", "podIP": "1", "conditions": [], "containerStatuses": [1]},
    }
    seen = pod_view(pod)
    assert seen["spec"] == {"nodeName": "n"}
    assert seen["status"] == {"phase": "Running", "conditions": [], "containerStatuses": [1]}
    assert seen["metadata"]["deletionTimestamp"] == "t"
    assert seen["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]
    assert "managedFields" not in seen["metadata"]


# covers

PORTS = [{"name": "target", "port": 5000, "nodePort": 30001}]
SPEC = {"type": "NodePort", "ports": PORTS, "egress": []}
OURS = {"metadata": {"name": "a", "labels": {"ours": "1"}}, "spec": SPEC}

SPECS: list[tuple[str, Any, bool]] = [
    ("the same", SPEC, True),
    ("what others set", SPEC | {"clusterIP": "10.0.0.1"}, True),
    ("what is empty is left out", {"type": "NodePort", "ports": PORTS}, True),
    ("null", SPEC | {"egress": None}, True),
    ("a field added by hand", SPEC | {"egress": [{}]}, False),
    ("a field is gone", {"type": "NodePort", "egress": []}, False),
    ("another value", SPEC | {"type": "ClusterIP"}, False),
    ("another item", SPEC | {"ports": [*PORTS, {"port": 1}]}, False),
    ("an item is gone", SPEC | {"ports": []}, False),
    ("another value in an item", SPEC | {"ports": [PORTS[0] | {"port": 5001}]}, False),
]


@pytest.mark.parametrize(("spec", "expected"), [s[1:] for s in SPECS], ids=[s[0] for s in SPECS])
def test_covers_the_spec(spec: Any, expected: bool) -> None:
    assert covers(OURS | {"spec": spec}, OURS) is expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"labels": {"ours": "1"}}, True),
        ({"labels": {"ours": "1", "theirs": "2"}}, True),
        ({"labels": {"ours": "2"}}, False),
        ({"labels": {"theirs": "2"}}, False),
        ({}, False),
    ],
)
def test_covers_our_labels(labels: Any, expected: bool) -> None:
    assert covers(OURS | {"metadata": {"name": "a", **labels}}, OURS) is expected


async def test_backing_off_has_no_end() -> None:
    queue = WorkQueue(1, "Stack")
    queue._failures["a"] = 5000
    queue._back_off("a", Unavailable("away"))
    assert queue._failures["a"] == 5001


async def test_deadlines_that_were_dropped_take_no_room() -> None:
    deadlines = Deadlines(lambda _: None)
    for number in range(1000):
        deadlines.set(str(number), datetime(2100, 1, 1, tzinfo=UTC))
        deadlines.drop(str(number))
    assert len(deadlines._heap) < 100
