"""Stacks that end: by their time, by losing a part, by their pod's own end; and events that are missed."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from slipway.api.meta import Object, timestamp
from slipway.api.stack import Reason
from slipway.reconcilers import controller, hearing
from tests.functional.test_stack_operator import children, reason, reasons, settings
from tests.support import api_answers
from tests.support.fake_api import FakeApi
from tests.support.objects import CREATED, a_node, a_service, a_stack
from tests.support.operator import Clock, Operator
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("clock")


def lose_pod(api: FakeApi) -> None:
    api.remove(POD, api.names(POD)[0])


def lose_service(api: FakeApi) -> None:
    api.remove(SERVICE, "stack-1-2")


def lose_node(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.remove(POD, api.names(POD)[0])  # as the pod garbage collector does


LOSSES = [
    (lose_pod, Reason.POD_DELETED),
    (lose_service, Reason.SERVICE_DELETED),
    (lose_node, Reason.NODE_DELETED),
]


@pytest.mark.parametrize(("lose", "expected"), LOSSES, ids=lambda case: getattr(case, "__name__", str(case)))
async def test_a_lost_part_is_told_and_the_stack_goes_after_the_interval(
    api: FakeApi, clock: Clock, lose: Callable[[FakeApi], None], expected: Reason
) -> None:
    async with Operator(api, settings(stack_scheduler_interval=10)) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        lose(api)
        await operator.settled()
        assert reason(api, type_="Stalled") == reason(api) == expected
        assert children(api) == 0
        assert operator.ledger._claims == {}
        clock.advance(9)
        await operator.settled()
        assert api.names(STACK) == ["stack-1-2"]
        clock.advance(1)
        await operator.settled()
        assert api.names(STACK) == []
    assert api.changes(POD, "ADDED") == 1, "players' state went with the pod: it is not made again"


@pytest.mark.parametrize(("lose", "expected"), LOSSES, ids=lambda case: getattr(case, "__name__", str(case)))
async def test_a_loss_while_the_operator_was_away(
    api: FakeApi, lose: Callable[[FakeApi], None], expected: Reason
) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
    lose(api)
    async with Operator(api, settings()) as operator:
        await operator.settled()
        assert reason(api, type_="Stalled") == expected
        assert children(api) == 0


async def test_a_kept_stack_that_lost_a_part_stays_to_be_looked_at(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings(stack_scheduler_interval=10)) as operator:
        api.put(STACK, a_stack(onExpiry="Keep"))
        await operator.settled()
        lose_pod(api)
        await operator.settled()
        for seconds in (10, 3600 * 5):
            clock.advance(seconds)
            await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_DELETED


async def test_a_pod_that_takes_its_time_to_go(api: FakeApi) -> None:
    api.graceful = True
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        (pod,) = api.names(POD)
        api.remove(POD, pod)
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        api.finish(POD, pod)
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_DELETED


async def test_a_deleted_node_ends_its_stacks_before_their_pods_are_collected(api: FakeApi) -> None:
    """The garbage collector lets a pod of a deleted node stand for a minute."""
    async with Operator(api, settings(), sweep=0.002):
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)
        api.remove(NODE, "node-1")
        await until(lambda: reason(api, type_="Stalled") == Reason.NODE_DELETED)
        await until(lambda: children(api) == 0)


async def test_children_without_an_owner_are_swept_away(api: FakeApi) -> None:
    """As `kubectl delete --cascade=orphan` leaves them."""
    async with Operator(api, settings(), sweep=0.002):
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)
        for kind in (POD, SERVICE, NETWORK_POLICY):
            for name in api.names(kind):
                api.edit(kind, name, lambda obj: obj["metadata"].update(ownerReferences=[]))
        api.remove(STACK, "stack-1-2")
        await until(lambda: children(api) == 0)


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/other": "x"}])
async def test_what_is_not_ours_is_not_swept_away(api: FakeApi, labels: dict[str, str]) -> None:
    service = a_service("theirs", 30500)
    service["metadata"]["labels"] = labels
    api.put(SERVICE, service)
    async with Operator(api, settings(), sweep=0.002):
        seen = api.lists
        await until(lambda: api.lists > seen + 50)
    assert api.names(SERVICE) == ["theirs"]


async def test_a_child_whose_owner_is_just_seen_late_stays(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.002) as operator:
        for problem in range(1, 5):
            api.put(STACK, a_stack(1, problem))
            await operator.settled()
        seen = api.lists
        await until(lambda: api.lists > seen + 50)
        assert api.changes(POD, "DELETED") == 0


async def test_a_pods_labels_are_put_back(api: FakeApi) -> None:
    """By one of them its Service and its policy find it."""
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        (pod,) = api.names(POD)
        before = api.get(POD, pod)["metadata"]["labels"]
        api.edit(POD, pod, lambda obj: obj["metadata"]["labels"].update({"slipway.dev/uid": "another", "theirs": "x"}))
        await operator.settled()
        assert api.get(POD, pod)["metadata"]["labels"] == before | {"theirs": "x"}
        assert reason(api) == Reason.RUNNING


@pytest.mark.parametrize(("kind", "expected"), [(POD, Reason.POD_DELETED), (SERVICE, Reason.SERVICE_DELETED)])
async def test_a_part_whose_owner_someone_took_off_is_a_loss(api: FakeApi, kind: Kind, expected: Reason) -> None:
    """The sweep takes it away: nothing would, once the Stack is gone."""
    async with Operator(api, settings(), sweep=0.002):
        api.put(STACK, a_stack(onExpiry="Keep"))
        await until(lambda: reason(api) == Reason.RUNNING)
        api.edit(kind, api.names(kind)[0], lambda obj: obj["metadata"].update(ownerReferences=[]))
        await until(lambda: reason(api, type_="Stalled") == expected)
        await until(lambda: children(api) == 0)


async def test_a_deaf_watch_is_noticed(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "DEAF_SECONDS", 0.02)
    async with Operator(api, settings(), sweep=0.005) as operator:
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)
        assert operator.controller.deaf() is None
        operator.cluster.deaf_to = lambda event: event.kind == POD
        api.edit(POD, api.names(POD)[0], lambda pod: pod["status"].update(message="changed"))
        await until(lambda: operator.controller.deaf() == "the watch of pods is deaf")
        operator.cluster.deaf_to = lambda event: False
        api.edit(POD, api.names(POD)[0], lambda pod: pod["status"].update(message="once more"))
        await until(lambda: operator.controller.deaf() is None)


@pytest.mark.parametrize("too_old", [False, True], ids=["goes-on", "lists-anew"])
async def test_a_watch_of_children_that_ends_is_opened_again(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, too_old: bool
) -> None:
    """What happened in between is heard of, with no sweep."""
    monkeypatch.setattr(controller, "RECONNECT_SECONDS", 0.002)
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        api.end_watches()
        lose_pod(api)
        if too_old:
            api.oldest = api.revision
        await until(lambda: reason(api, type_="Stalled") == Reason.POD_DELETED)
        api.put(STACK, a_stack(2, 2))
        await until(lambda: reason(api, "stack-2-2") == Reason.RUNNING)


async def test_a_watch_of_children_that_cannot_be_opened_is_tried_again(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "RECONNECT_SECONDS", 0.002)
    api.refuse("watch", POD, api_answers.INTERNAL, times=3)
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)
        await operator.settled()


async def test_what_is_gone_makes_no_watch_deaf(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "DEAF_SECONDS", 0.0)
    async with Operator(api, settings(), sweep=0.002) as operator:
        operator.cluster.deaf_to = lambda event: True
        api.put(STACK, a_stack())
        await until(lambda: operator.controller.deaf() is not None)
        api.remove(STACK, "stack-1-2")
        await until(lambda: operator.controller.deaf() is None)


async def test_a_missed_event_is_made_good_by_the_sweep(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.005) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        operator.cluster.deaf_to = lambda event: event.change == "DELETED"
        lose_pod(api)
        await until(lambda: reason(api, type_="Stalled") == Reason.POD_DELETED)


async def test_a_missed_end_of_a_stack_is_made_good_by_the_sweep(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.005) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        operator.cluster.deaf_to = lambda event: True
        api.remove(STACK, "stack-1-2")
        await until(lambda: operator.ledger._claims == {})


async def test_a_missed_beginning_is_made_good_by_the_sweep(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.005) as operator:
        operator.cluster.deaf_to = lambda event: event.kind == STACK
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)


async def test_a_sweep_that_fails_is_no_end(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.002) as operator:
        api.refuse("list", NODE, api_answers.INTERNAL, times=3)
        api.refuse("list", STACK, api_answers.INTERNAL, times=3)
        operator.cluster.deaf_to = lambda event: True
        api.put(STACK, a_stack())
        await until(lambda: len(api.names(POD)) == 1)


async def test_the_sweep_learns_of_new_room(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    async with Operator(api, settings(), sweep=0.002) as operator:
        api.put(NODE, a_node())
        await until(lambda: operator.ledger.capacity.cpu_milli == 8000)
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)


async def test_time_is_over_before_a_node_is_found(api: FakeApi, clock: Clock) -> None:
    api.node = None
    async with Operator(api, settings(stack_scheduling_timeout=20)) as operator:
        api.put(STACK, a_stack(ttl="5s"))
        await operator.settled()
        clock.advance(5)
        await operator.settled()
        assert api.names(STACK) == []


async def test_time_is_over_delete(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="90s"))
        await operator.settled()
        clock.advance(89)
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        clock.advance(1)
        await operator.settled()
        assert api.names(STACK) == []
        assert children(api) == 0
        assert operator.ledger._claims == {}


async def test_a_stack_renewed_in_the_last_moment_lives_on(api: FakeApi, clock: Clock) -> None:
    """The operator has not heard of it yet when the time is over."""
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="90s"))
        await operator.settled()
        heard, operator.cluster.deaf_to = operator.cluster.deaf_to, lambda event: True
        renewed = api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(ttl="2h"))
        clock.advance(90)
        await until(lambda: operator.controller._queue._failures)
        operator.cluster.deaf_to = heard
        operator.controller.seen(STACK, "MODIFIED", renewed)
        await operator.settled()
        assert reason(api) == Reason.RUNNING


async def test_time_is_over_by_the_setting(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings(stack_ttl=60)) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        clock.advance(60)
        await operator.settled()
        assert api.names(STACK) == []


def live_for(ttl: str) -> Callable[[Object], None]:
    return lambda stack: stack["spec"].update(ttl=ttl)


async def test_no_edit_lets_it_live_longer_than_may_be(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings(stack_ttl=60, stack_ttl_max=100)) as operator:
        api.put(STACK, a_stack())
        for ttl in ("99s", "101s", "720h"):
            api.edit(STACK, "stack-1-2", live_for(ttl))
            await operator.settled()
            end = api.the(STACK)["status"]["expiresAt"]
            assert end == timestamp(CREATED + timedelta(seconds=99 if ttl == "99s" else 100))
        clock.advance(99)
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        clock.advance(1)
        await operator.settled()
        assert api.names(STACK) == api.names(POD) == []


async def test_time_was_over_while_the_operator_was_away(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(1, 2, ttl="1m"))
        api.put(STACK, a_stack(1, 3, ttl="2m"))
        await operator.settled()
    clock.advance(90)
    async with Operator(api, settings()) as operator:
        await operator.settled()
        assert api.names(STACK) == ["stack-1-3"]
        clock.advance(30)
        await operator.settled()
        assert api.names(STACK) == []


async def test_time_is_over_keep_and_a_longer_life_revives(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="1h", onExpiry="Keep"))
        await operator.settled()
        clock.advance(3600)
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.EXPIRED
        assert children(api) == 0
        writes = len(api.writes)
        clock.advance(3600)
        await operator.settled()
        assert len(api.writes) == writes
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(ttl="3h"))
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        assert reason(api, type_="Stalled") is None
        clock.advance(3600)
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.EXPIRED


async def test_a_longer_life_before_the_end(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="1h"))
        await operator.settled()
        (pod,) = api.names(POD)
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(ttl="2h"))
        await operator.settled()
        clock.advance(3600)
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        assert api.names(POD) == [pod]
        clock.advance(3600)
        await operator.settled()
        assert api.names(STACK) == []


async def test_a_shorter_life_ends_at_once(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        clock.advance(600)
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(ttl="5m"))
        await operator.settled()
        assert api.names(STACK) == []


@pytest.mark.parametrize(("phase", "expected"), [("Succeeded", Reason.POD_SUCCEEDED), ("Failed", Reason.POD_FAILED)])
async def test_a_pod_that_has_ended_stays_until_the_end(
    api: FakeApi, clock: Clock, phase: str, expected: Reason
) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="1h"))
        await operator.settled()
        api.edit(POD, api.names(POD)[0], lambda p: p["status"].update(phase=phase, conditions=[]))
        await operator.settled()
        assert reason(api, type_="Stalled") == expected
        assert len(api.names(POD)) == 1
        assert "nodePort" in api.the(STACK)["status"]
        clock.advance(3600)
        await operator.settled()
        assert api.names(STACK) == []
    assert reasons(api)[-1] == expected


async def test_a_stack_that_a_finalizer_holds_runs_nothing(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        status = api.get(STACK, "stack-1-2")["status"]
        api.edit(STACK, "stack-1-2", lambda s: s["metadata"].update(deletionTimestamp="2026-01-01T12:00:01Z"))
        await operator.settled()
        assert not any(api.names(kind) for kind in (POD, SERVICE, NETWORK_POLICY))
        assert api.get(STACK, "stack-1-2")["status"] == status
        assert operator.ledger._claims == {}
