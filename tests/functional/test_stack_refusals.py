"""Stacks that may not run: the reason is told, and nothing of them is left but the resource."""

from typing import Any

import pytest

from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from slipway.api.meta import REQUEST
from slipway.api.stack import Reason
from tests.functional.test_stack_operator import children, image, reason, reasons, settings
from tests.support import api_answers
from tests.support.api_answers import Answer
from tests.support.bad_pods import BAD_PODS, BadPod
from tests.support.fake_api import FakeApi
from tests.support.objects import a_node, a_service, a_stack, controller_of
from tests.support.operator import Clock, Operator
from tests.support.pods import TARGET_PORT
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("clock")


async def refused(api: FakeApi, name: str = "stack-1-2", **given: Any) -> str:
    """Reason of a Stack that is made now; nothing may be left of it."""
    async with Operator(api, settings(**given)) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        stalled = reason(api, name, "Stalled")
        assert stalled == reason(api, name), "Ready must tell the same reason"
        status = api.get(STACK, name)["status"]
        assert status["observedGeneration"] == 1
        assert not {"podName", "serviceName", "nodePort", "requested"} & status.keys()
        assert "uid-1-2" not in operator.ledger._claims
        assert children(api) == 0
        written = len(api.writes)
        api.edit(STACK, name, lambda s: s["metadata"].update(annotations={"note": "looked at"}))
        await operator.settled()
        assert len(api.writes) == written, "a refused Stack is left alone"
    return str(stalled)


@pytest.mark.parametrize("bad", BAD_PODS[::8], ids=lambda bad: bad.id)
async def test_a_bad_pod(api: FakeApi, bad: BadPod) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=bad.template))
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_SPEC_INVALID
        message = api.the(STACK)["status"]["conditions"][0]["message"]
        assert bad.path("template") in message
        assert bad.fragment in message
    assert api.write_counts() == {"patch_status stacks": 1}


POD_CASES = [
    (api_answers.POD_QUOTA, Reason.RESOURCE_QUOTA_EXCEEDED),
    (api_answers.QUOTA_WANTS_A_LIMIT, Reason.RESOURCE_QUOTA_EXCEEDED),
    (api_answers.LIMIT_MAXIMA, Reason.LIMIT_RANGE_EXCEEDED),
    (api_answers.LIMIT_MINIMUM, Reason.LIMIT_RANGE_EXCEEDED),
    (api_answers.LIMIT_RATIO, Reason.LIMIT_RANGE_EXCEEDED),
    (api_answers.POD_SECURITY, Reason.REJECTED),
    (api_answers.INVALID, Reason.REJECTED),
]


@pytest.mark.parametrize(("answer", "expected"), POD_CASES, ids=lambda case: getattr(case, "message", case)[:60])
async def test_the_api_server_forbids_the_pod(api: FakeApi, answer: Answer, expected: Reason) -> None:
    api.refuse("create", POD, answer)
    assert await refused(api) == expected
    assert api.the(STACK)["status"]["conditions"][0]["message"] == answer.message


@pytest.mark.parametrize("kind", [SERVICE, NETWORK_POLICY], ids=lambda kind: kind.plural)
async def test_a_quota_may_count_other_children_too(api: FakeApi, kind: Kind) -> None:
    api.refuse("create", kind, api_answers.SERVICE_QUOTA)
    assert await refused(api) == Reason.RESOURCE_QUOTA_EXCEEDED


async def test_the_user_limit(api: FakeApi) -> None:
    api.put(STACK, a_stack(1, 9))
    assert await refused(api, stack_max_per_user=1) == Reason.USER_LIMIT_REACHED
    assert reason(api, "stack-1-9") == Reason.RUNNING


async def test_the_pair_of_an_older_stack(api: FakeApi) -> None:
    api.put(STACK, a_stack(1, 2, name="older"))
    assert await refused(api) == Reason.ALREADY_EXISTS
    assert reason(api, "older") == Reason.RUNNING


async def test_no_room_in_the_cluster(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.put(NODE, a_node(cpu="600m"))  # 480m for stacks
    assert await refused(api) == Reason.CLUSTER_SATURATED


async def test_a_node_that_has_just_come_is_seen_before_a_refusal(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    async with Operator(api, settings()) as operator:
        api.put(NODE, a_node())
        api.put(STACK, a_stack())
        await operator.settled()
        assert reason(api) == Reason.RUNNING


async def test_no_free_port(api: FakeApi) -> None:
    api.put(SERVICE, a_service("other", 30000))
    assert await refused(api, stack_nodeport_min=30000, stack_nodeport_max=30000) == Reason.NODE_PORTS_EXHAUSTED


@pytest.mark.parametrize("kind", [SERVICE, NETWORK_POLICY], ids=lambda kind: kind.plural)
@pytest.mark.parametrize("owner", [None, controller_of("Deployment", "d", "uid-d", "apps/v1")], ids=["nobody", "other"])
async def test_a_stranger_has_the_name(api: FakeApi, kind: Kind, owner: Any) -> None:
    """What Slipway has not made, it neither takes nor deletes."""
    api.collects = False
    theirs = a_service("stack-1-2", 30500, owner=owner) | {"kind": kind.kind}
    before = api.put(kind, theirs)
    async with Operator(api, settings(), sweep=0.005) as operator:
        api.put(STACK, a_stack())
        await until(lambda: reason(api, type_="Stalled") == Reason.REJECTED)
        await until(lambda: children(api) == 0)
        await operator.settled()
    assert api.find(kind, "stack-1-2") == before


async def test_no_node_in_time(api: FakeApi, clock: Clock) -> None:
    api.node = None
    async with Operator(api, settings(stack_scheduling_timeout=20)) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        unschedulable = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }
        api.edit(POD, api.names(POD)[0], lambda p: p["status"].update(conditions=[unschedulable]))
        await operator.settled()
        assert reason(api) == Reason.SCHEDULING
        assert api.the(STACK)["status"]["conditions"][0]["message"] == unschedulable["message"]
        clock.advance(19)
        await operator.settled()
        assert reason(api) == Reason.SCHEDULING
        clock.advance(1)
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.SCHEDULING_TIMEOUT
        assert children(api) == 0
        assert "nodePort" not in api.the(STACK)["status"]
        assert operator.ledger._claims == {}


async def test_a_refused_stack_runs_when_its_template_is_mended(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=BAD_PODS[0].template))
        await operator.settled()
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("1")))
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        assert reason(api, type_="Stalled") is None


async def test_a_bad_edit_changes_nothing_of_what_runs(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        before, pods = api.the(STACK)["status"], api.names(POD)
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=BAD_PODS[0].template))
        await operator.settled()
    async with Operator(api, settings()) as operator:  # nor does a restart
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_SPEC_INVALID
        assert reason(api) == Reason.RUNNING
        assert operator.ledger._claims.keys() == {"uid-1-2"}
        held = api.the(STACK)["status"]
        assert held["observedGeneration"] == 2
        assert {k: held[k] for k in ("podName", "nodePort")} == {k: before[k] for k in ("podName", "nodePort")}
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("1")))
        await operator.settled()
        assert [c["type"] for c in api.the(STACK)["status"]["conditions"]] == ["Ready"]
        assert api.names(POD) == pods
        assert api.the(STACK)["status"]["nodePort"] == before["nodePort"]
    assert api.write_counts()["create pods"] == 1


async def test_a_bad_edit_of_what_then_loses_its_pod(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=BAD_PODS[0].template))
        await operator.settled()
        api.remove(POD, api.names(POD)[0])
        await operator.settled()
        assert reason(api) == Reason.POD_SPEC_INVALID
        assert children(api) == 0


async def test_a_refused_stack_is_deleted_at_its_end(api: FakeApi, clock: Clock) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=BAD_PODS[0].template, ttl="1h"))
        await operator.settled()
        clock.advance(3599)
        await operator.settled()
        assert api.names(STACK)
        clock.advance(1)
        await operator.settled()
        assert not api.names(STACK)


async def test_whoever_reads_the_reason_may_count_on_it(api: FakeApi) -> None:
    """Stalled is written after the last delete."""
    api.refuse("create", POD, api_answers.POD_QUOTA)
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
    order = [(e.kind, e.change) for e in api.events if e.kind in (SERVICE, NETWORK_POLICY) or "status" in e.obj]
    stalled = max(i for i, e in enumerate(api.events) if e.kind == STACK and e.change == "MODIFIED")
    assert not any(e.kind in (SERVICE, NETWORK_POLICY) for e in api.events[stalled:])
    assert (SERVICE, "DELETED") in order
    assert reasons(api) == [Reason.RESOURCE_QUOTA_EXCEEDED]


async def test_a_port_range_that_the_cluster_does_not_have(api: FakeApi) -> None:
    api.refuse("create", SERVICE, api_answers.PORT_OUT_OF_RANGE)
    assert await refused(api) == Reason.NODE_PORTS_EXHAUSTED
    assert "not in the valid range" in api.the(STACK)["status"]["conditions"][0]["message"]


async def test_what_was_refused_over_rest_does_not_stay(api: FakeApi, clock: Clock) -> None:
    """The gateway removes it; where it died before it could, the sweep does."""
    asked = a_stack(template=BAD_PODS[0].template)
    asked["metadata"]["annotations"] = {REQUEST: "x"}
    async with Operator(api, settings(stack_scheduler_interval=10)) as operator:
        api.put(STACK, asked)
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_SPEC_INVALID
        clock.advance(10)
        await operator.settled()
        assert not api.names(STACK)


async def test_a_new_template_fits_where_the_old_one_did(api: FakeApi) -> None:
    """A quota with room for one pod: the old one makes way first."""
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        (first,) = api.names(POD)
        api.graceful = True
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("2")))
        await operator.settled()
        assert api.names(POD) == [first]
        api.finish(POD, first)
        await operator.settled()
        assert len(api.names(POD)) == 1
        assert api.names(POD) != [first]


async def test_limits_that_were_lowered_end_nothing_that_runs(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
    async with Operator(api, settings(stack_max_cpu=1)) as operator:
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        api.put(STACK, a_stack(2, 2))
        await operator.settled()
        assert reason(api, "stack-2-2") == Reason.POD_SPEC_INVALID


async def test_an_odd_service_does_not_keep_the_operator_from_starting(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
    port = {"name": "target", "protocol": "TCP", "port": TARGET_PORT, "targetPort": TARGET_PORT}
    api.edit(SERVICE, "stack-1-2", lambda s: s["spec"].update(type="ClusterIP", ports=[port]))
    async with Operator(api, settings()) as operator:
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        assert api.the(SERVICE)["spec"]["type"] == "NodePort"


async def test_a_pod_without_our_labels_is_not_left_running(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(onExpiry="Keep"))
        await operator.settled()
        (pod,) = api.names(POD)
        api.edit(POD, pod, lambda p: p["metadata"].update(labels={}))
    async with Operator(api, settings()) as operator:
        await operator.settled()
        assert reason(api, type_="Stalled") == Reason.POD_DELETED
        assert not api.names(POD)
