"""SIGKILL after any write changes nothing about the end, in the manner of Sieve (OSDI '22).

Each scenario is played once undisturbed. Then the operator dies after its first, second, … write, before it learns that
the write went through, and another one takes over. End state and counts of creates and deletes must be the same.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from tests.functional.test_stack_operator import image, settings
from tests.support import api_answers
from tests.support.bad_pods import BAD_PODS
from tests.support.fake_api import FakeApi
from tests.support.objects import a_node, a_service, a_stack
from tests.support.operator import Clock, Operator

Step = Callable[[FakeApi, Clock], object]
KINDS = (STACK, POD, SERVICE, NETWORK_POLICY)


@dataclass(frozen=True)
class Scenario:
    """What people and the cluster do, one step after the other has settled.

    writes: how many the operator makes, undisturbed. again: how many more creates a death may cost, where what was made
    for a Stack that is then refused is made once more. ports: in the range, few, so that each run gets the same one.
    """

    name: str
    steps: tuple[Step, ...]
    writes: int
    again: int = 0
    ports: int = 1


def make(**given: Any) -> Step:
    return lambda api, _: api.put(STACK, a_stack(template=image("1"), **given))


def edit(**spec: Any) -> Step:
    return lambda api, _: api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(spec))


def later(seconds: float) -> Step:
    return lambda _, clock: clock.advance(seconds)


def lose(kind: Kind) -> Step:
    def step(api: FakeApi, _: Clock) -> None:
        for name in api.names(kind)[:1]:
            api.remove(kind, name)

    return step


def refuse_pods(api: FakeApi, _: Clock) -> None:
    api.refuse("create", POD, api_answers.POD_QUOTA)


def no_room(api: FakeApi, _: Clock) -> None:
    api.node = None


def unschedulable(api: FakeApi, _: Clock) -> None:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    api.edit(POD, api.names(POD)[0], lambda p: p["status"].update(conditions=[said]))


def wait_for_images(api: FakeApi, _: Clock) -> None:
    api.starts = False


def start(api: FakeApi, _: Clock) -> None:
    api.start(api.names(POD)[0])


def take_port(api: FakeApi, _: Clock) -> None:
    api.put(SERVICE, a_service("other", 30000))


SCENARIOS = [
    Scenario("create", (wait_for_images, make(), start), writes=5),
    Scenario("create-beside-a-stranger", (take_port, wait_for_images, make(), start), writes=5, ports=2),
    Scenario("delete", (make(), lose(STACK)), writes=4),
    Scenario("delete-half-made", (no_room, make(), lose(STACK)), writes=3),
    Scenario("expire", (make(ttl="1h"), later(3600)), writes=5),
    Scenario("expire-and-keep", (make(ttl="1h", onExpiry="Keep"), later(3600)), writes=8),
    Scenario("revive", (make(ttl="1h", onExpiry="Keep"), later(3600), edit(ttl="2h")), writes=12),
    Scenario("template", (make(), edit(template=image("2"))), writes=7),
    Scenario("template-there-and-back", (make(), edit(template=image("2")), edit(template=image("1"))), writes=10),
    Scenario("bad-template", (make(), edit(template=BAD_PODS[0].template)), writes=5),
    Scenario(
        "bad-template-and-back", (make(), edit(template=BAD_PODS[0].template), edit(template=image("1"))), writes=6
    ),
    Scenario("refused-by-quota", (refuse_pods, make()), writes=5, again=2),
    Scenario("refused-new-template", (make(), refuse_pods, edit(template=image("2"))), writes=8, again=2),
    Scenario("not-scheduled", (no_room, make(), later(20), later(20)), writes=7, again=3),
    Scenario("unschedulable", (no_room, make(), unschedulable, later(20), later(20)), writes=8, again=3),
    Scenario("pod-lost", (make(), lose(POD), later(10)), writes=8),
    Scenario("service-lost", (make(), lose(SERVICE), later(10)), writes=8),
    Scenario("node-lost", (make(), lose(NODE), lose(POD), later(10)), writes=8),
]
POINTS = [pytest.param(s, point, id=f"{s.name}-{point}") for s in SCENARIOS for point in range(1, s.writes + 1)]


def end_state(api: FakeApi) -> list[Any]:
    """All that is there, but for what differs from one life of an object to the next."""
    out = []
    for kind in KINDS:
        for name in api.names(kind):
            obj = api.find(kind, name)
            assert obj
            metadata = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "creationTimestamp")}
            if kind != STACK:
                del metadata["uid"]
            status = obj.get("status", {}) if kind == STACK else {}
            for condition in status.get("conditions", []):
                del condition["lastTransitionTime"]
            out.append({"kind": kind.kind, "metadata": metadata, "spec": obj.get("spec"), "status": status})
    return out


def tally(api: FakeApi, change: str) -> Counter[str]:
    return Counter(e.kind.plural for e in api.events if e.change == change and e.kind in KINDS)


async def play(scenario: Scenario, clock: Clock, api: FakeApi, dies_after: int | None) -> bool:
    """Whether the operator died on the way."""
    died = False
    given = settings(stack_nodeport_min=30000, stack_nodeport_max=29999 + scenario.ports, stack_scheduling_timeout=20)
    operator = Operator(api, given, dies_after=dies_after)
    await operator.__aenter__()
    try:
        for step in scenario.steps:
            step(api, clock)
            await operator.settled()
            if operator.dead:
                died = True
                await operator.__aexit__(None, None, None)
                operator = Operator(api, given)
                await operator.__aenter__()
                await operator.settled()
    finally:
        await operator.__aexit__(None, None, None)
    return died


_CALM: dict[str, FakeApi] = {}


async def undisturbed(scenario: Scenario) -> FakeApi:
    """What the cluster looks like when nobody dies; played once for each scenario."""
    if scenario.name not in _CALM:
        clock = Clock()
        calm = FakeApi(lambda: clock.now)
        calm.put(NODE, a_node())
        with pytest.MonkeyPatch.context() as patch:
            clock.install(patch)
            assert not await play(scenario, clock, calm, None)
        _CALM[scenario.name] = calm
    return _CALM[scenario.name]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_the_writes_of_an_undisturbed_run(scenario: Scenario, clock: Clock, api: FakeApi) -> None:
    """The points at which to die below are all there are."""
    assert not await play(scenario, clock, api, None)
    assert len(api.writes) == scenario.writes, api.write_counts()


@pytest.mark.parametrize(("scenario", "point"), POINTS)
async def test_death_after_a_write(
    scenario: Scenario, point: int, clock: Clock, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = await undisturbed(scenario)
    clock.install(monkeypatch)
    assert await play(scenario, clock, api, point), "the operator never came to that write"
    assert end_state(api) == end_state(calm)
    extra = tally(api, "ADDED") - tally(calm, "ADDED")
    assert sum(extra.values()) <= scenario.again, f"made more than once: {extra}"
    if not scenario.again:
        assert tally(api, "DELETED") == tally(calm, "DELETED")
        assert len(api.writes) <= len(calm.writes) + 1, "only the write whose answer was lost may be repeated"
