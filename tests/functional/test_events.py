"""Events reach the API server, and what hinders them hinders nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from slipway.api.kinds import EVENT, NODE, POD, SERVICE, STACK
from slipway.api.meta import Object, ObjectMeta
from slipway.api.stack import Reason
from slipway.builders import event as builder
from slipway.builders.event import Notice
from slipway.cluster import Cluster
from slipway.reconcilers import events
from slipway.reconcilers.controller import Controller
from slipway.reconcilers.events import Recorder
from slipway.reconcilers.stack import StackReconciler
from tests.functional.test_stack_operator import image, reason, settings
from tests.support import api_answers
from tests.support.bad_pods import BAD_PODS
from tests.support.fake_api import FakeApi
from tests.support.fake_cluster import FakeCluster
from tests.support.figures import Growth, figure
from tests.support.objects import a_stack
from tests.support.operator import Clock, Operator
from tests.support.until import until

ABOUT = ObjectMeta(name="stack-1-2", namespace="stacks", uid="uid-1-2", resource_version="7")


def notice(number: int = 1) -> Notice:
    return Notice("Warning", "PodDeleted", "Keep", "the pod was deleted", (number,))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAUSE", 0.0)


@asynccontextmanager
async def recording(cluster: Cluster) -> AsyncIterator[Recorder]:
    recorder = Recorder(cluster)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
        assert not task.done(), "it has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_as_the_api_server_gets_it(api: FakeApi, cluster: Cluster) -> None:
    async with recording(cluster) as recorder:
        recorder.tell(STACK, ABOUT, notice())
        await until(lambda: api.names(EVENT))
    made = api.the(EVENT)
    assert made["metadata"]["namespace"] == "stacks"
    assert made["regarding"]["uid"] == "uid-1-2"
    assert made["note"] == "the pod was deleted"


async def test_the_same_told_again_also_by_another_operator(api: FakeApi) -> None:
    dropped = Growth("slipway_events_dropped_total")
    for _ in range(2):
        async with recording(FakeCluster(api)) as recorder:
            for number in (1, 1, 2):
                recorder.tell(STACK, ABOUT, notice(number))
            await until(recorder._waiting.empty)
            await until(lambda: len(api.names(EVENT)) == 2)
    assert api.write_counts() == {"create events": 2}
    assert dropped() == 0


async def test_a_full_queue_drops_counts_and_says_so_once(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "ROOM", 3)
    dropped = Growth("slipway_events_dropped_total")
    recorder = Recorder(FakeCluster(api))
    for number in range(10):
        recorder.tell(STACK, ABOUT, notice(number))
    assert dropped() == 7
    assert [r.getMessage() for r in caplog.records] == ["lost 1 Event(s): 3 of them wait already"]
    task = asyncio.create_task(recorder.run())
    await until(lambda: len(api.names(EVENT)) == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("answer", [api_answers.NO_RIGHT, api_answers.OVERLOADED, api_answers.NAMESPACE_ENDS])
async def test_what_the_api_server_refuses_is_dropped_and_the_next_one_written(
    api: FakeApi, answer: api_answers.Answer, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = Growth("slipway_events_dropped_total")
    api.refuse("create", EVENT, answer, times=2)
    async with recording(FakeCluster(api)) as recorder:
        for number in range(3):
            recorder.tell(STACK, ABOUT, notice(number))
        await until(lambda: api.names(EVENT))
    assert dropped() == 2
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert answer.message in caplog.text


async def test_the_log_is_told_again_after_a_while_with_the_count(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(events, "monotonic", lambda: now)
    monkeypatch.setattr(events, "ROOM", 1)
    recorder = Recorder(FakeCluster(api))
    for seconds in (0, 0, 59, 1, 1):
        now += seconds
        recorder.tell(STACK, ABOUT, notice())
        recorder.tell(STACK, ABOUT, notice())
    assert [r.getMessage()[:8] for r in caplog.records] == ["lost 1 E", "lost 5 E"]


async def test_a_bug_in_telling_ends_nothing(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = Growth("slipway_events_dropped_total")
    async with recording(FakeCluster(api)) as recorder:
        with monkeypatch.context() as broken:
            broken.setattr(builder, "build", lambda *_: 1 / 0)
            recorder.tell(STACK, ABOUT, notice(1))
            await until(dropped)
        recorder.tell(STACK, ABOUT, notice(2))
        await until(lambda: api.names(EVENT))
    assert "telling of stack stack-1-2 broke" in caplog.text


# what the operator tells


def asking_for(template: Object) -> Callable[[Object], None]:
    return lambda stack: stack["spec"].update(template=template)


def told(operator: Operator) -> list[tuple[str, str]]:
    return [(notice.type, notice.reason) for _, notice in operator.events.told]


async def test_a_life(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(ttl="1h"))
        await operator.settled()
        (about, _), version = operator.events.told[0], api.the(STACK)["metadata"]["resourceVersion"]
        assert (about.uid, about.resource_version) == ("uid-1-2", version)
        clock.advance(3600)
        await operator.settled()
        assert api.names(STACK) == []
        assert told(operator) == [("Normal", "Running"), ("Normal", "Expired")]


async def test_trouble_of_a_container(api: FakeApi, clock: Clock) -> None:
    api.starts = False
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
        api.edit(
            POD,
            api.names(POD)[0],
            lambda p: p["status"].update(containerStatuses=[{"name": "app", "state": {"waiting": waiting}}]),
        )
        await operator.settled()
        assert told(operator) == [("Warning", "ImagePullBackOff")]
        assert operator.events.told[0][1].note == "container app: Back-off pulling image"


@pytest.mark.parametrize(
    ("lost", "expected"), [((POD,), "PodDeleted"), ((SERVICE,), "ServiceDeleted"), ((NODE, POD), "NodeDeleted")]
)
async def test_a_loss(api: FakeApi, clock: Clock, lost: tuple[object, ...], expected: str) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        for kind in (NODE, POD, SERVICE):
            if kind in lost:
                api.remove(kind, api.names(kind)[0])
        await operator.settled()
        assert told(operator) == [("Normal", "Running"), ("Warning", expected)]


async def test_a_refusal_is_told_and_counted_once(api: FakeApi, clock: Clock) -> None:
    refused = Growth("slipway_admission_refusals_total", reason="UserLimitReached")
    async with Operator(api, settings(stack_max_per_user=1)) as operator:
        api.put(STACK, a_stack(1, 1))
        await operator.settled()
        api.refuse("patch_status", STACK, api_answers.MODIFIED, times=2)  # what is tried again counts once
        api.put(STACK, a_stack(1, 2))
        await operator.settled()
        assert reason(api, "stack-1-2") == Reason.USER_LIMIT_REACHED
    assert told(operator) == [("Normal", "Running"), ("Warning", "UserLimitReached")]
    assert refused() == 1


async def test_a_refused_edit(api: FakeApi, clock: Clock) -> None:
    refused = Growth("slipway_admission_refusals_total", reason="PodSpecInvalid")
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        for bad in BAD_PODS[:2]:
            api.edit(STACK, "stack-1-2", asking_for(bad.template))
            await operator.settled()
        assert told(operator) == [("Normal", "Running"), *[("Warning", "PodSpecInvalid")] * 2]
    assert refused() == 2


async def test_what_was_told_is_not_told_by_the_next_operator(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        assert told(operator) == [("Normal", "Running")]
    async with Operator(api, settings()) as restarted:
        await restarted.settled()
        assert told(restarted) == []


# figures of a whole operator


async def test_an_operator_shows_its_figures_while_it_works(api: FakeApi, clock: Clock) -> None:
    worked = Growth("slipway_reconcile_total", kind="Stack", result="success")
    async with Operator(api, settings()) as operator:
        for problem in (1, 2):
            api.put(STACK, a_stack(1, problem))
        await operator.settled()
        assert figure("slipway_stacks", state="running") == 2
        assert figure("slipway_node_ports_used") == 2
        assert figure("slipway_reserved_cpu_cores") == 1
        assert figure("slipway_allocatable_cpu_cores") == 8
        assert figure("slipway_queue_depth", kind="Stack") == 0
        assert figure("slipway_leader") == 1
        api.remove(STACK, "stack-1-1")
        await operator.settled()
        assert figure("slipway_stacks", state="running") == 1
        assert worked() > 2
    assert figure("slipway_stacks", state="running") is None
    assert figure("slipway_leader") == 0
    async with Operator(api, settings()) as again:  # the lead, once more
        await again.settled()
        assert figure("slipway_stacks", state="running") == 1


async def test_what_the_watch_lost_is_counted(api: FakeApi, clock: Clock) -> None:
    missed = Growth("slipway_watch_missed_total", kind="Stack")
    async with Operator(api, settings(), sweep=0.002) as operator:
        operator.cluster.deaf_to = lambda event: event.kind == STACK
        api.put(STACK, a_stack())
        await until(lambda: reason(api) == Reason.RUNNING)
        assert missed() >= 1


async def test_a_controller_writes_its_events_by_itself(api: FakeApi) -> None:
    api.put(STACK, a_stack())
    controller = Controller(StackReconciler, FakeCluster(api), settings(), "stacks", sweep=0.002)
    await controller.start()
    task = asyncio.create_task(controller.run())
    await until(lambda: api.names(EVENT))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert api.the(EVENT)["reason"] == "Running"
