"""A Stack's life under the operator: what it makes, writes and keeps, when all goes well."""

import copy
from collections.abc import Callable

import pytest

from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from slipway.api.meta import Object, timestamp
from slipway.api.stack import Reason
from slipway.settings import Settings
from tests.support import api_answers
from tests.support.fake_api import FakeApi
from tests.support.objects import a_node, a_service, a_stack, controller_of, some_settings
from tests.support.operator import Clock, Operator
from tests.support.pods import good_template
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("clock")


def settings(**given: object) -> Settings:
    return some_settings(**given)


def reason(api: FakeApi, name: str = "stack-1-2", type_: str = "Ready") -> str | None:
    """Of a condition; of Stalled only where it is True."""
    stack = api.find(STACK, name)
    assert stack, f"{name} is gone"
    found = {c["type"]: c for c in stack["status"].get("conditions", [])}
    return found[type_]["reason"] if type_ in found else None


def reasons(api: FakeApi, name: str = "stack-1-2") -> list[str]:
    """Every reason of Ready that a watch has seen, in order."""
    statuses = [e.obj["status"] for e in api.events if e.kind == STACK and e.obj["metadata"]["name"] == name]
    told = [c["reason"] for s in statuses for c in s.get("conditions", []) if c["type"] == "Ready"]
    return [r for before, r in zip([None, *told], told, strict=False) if r != before]


def children(api: FakeApi, uid: str = "uid-1-2") -> int:
    """How many a Stack has."""
    owned = (api.find(kind, name) or {} for kind in (POD, SERVICE, NETWORK_POLICY) for name in api.names(kind))
    return sum(any(r["uid"] == uid for r in o["metadata"].get("ownerReferences", [])) for o in owned)


def image(tag: str) -> Object:
    return good_template({"spec.containers[0].image": f"ghcr.io/example/problem:{tag}"})


async def test_the_good_path_in_as_few_writes_as_can_be(api: FakeApi) -> None:
    api.starts = False
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        stack = api.the(STACK)
        assert reason(api) == Reason.STARTING
        assert stack["status"]["nodeName"] == "node-1"
        assert stack["status"]["nodePort"] == api.the(SERVICE)["spec"]["ports"][0]["nodePort"]
        assert stack["status"]["podName"] == api.the(POD)["metadata"]["name"]
        assert stack["status"]["serviceName"] == "stack-1-2"
        assert stack["status"]["requested"] == {"cpuMilli": 500, "memoryBytes": 256 * 2**20}
        assert stack["status"]["expiresAt"] == timestamp(operator.api.now().replace(hour=14))
        assert stack["status"]["observedGeneration"] == 1
        api.start(stack["status"]["podName"])
        await operator.settled()
        assert reason(api) == Reason.RUNNING
    assert api.write_counts() == {
        "create pods": 1,
        "create services": 1,
        "create networkpolicies": 1,
        "patch_status stacks": 2,
    }


async def test_the_policy_is_there_before_the_pod(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
    kinds = [w.kind for w in api.writes]
    assert kinds.index("networkpolicies") < kinds.index("pods")


async def test_nothing_is_written_when_nothing_changed(api: FakeApi) -> None:
    async with Operator(api, settings(), sweep=0.002) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        before, lists = len(api.writes), api.lists
        api.edit(STACK, "stack-1-2", lambda s: s["metadata"].update(annotations={"note": "mine"}))
        api.edit(POD, api.names(POD)[0], lambda p: p["metadata"].update(annotations={"note": "mine"}))
        await until(lambda: api.lists > lists + 10)  # two sweeps and more
        await operator.settled()
        assert len(api.writes) == before
    async with Operator(api, settings()) as restarted:
        await restarted.settled()
    assert len(api.writes) == before


async def test_before_the_scheduler_has_spoken_there_is_nothing_to_say(api: FakeApi) -> None:
    api.node = None
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        assert api.write_counts()["patch_status stacks"] == 0
        api.place(api.names(POD)[0], "node-1")
        await operator.settled()
        assert reason(api) == Reason.STARTING


async def test_a_changed_template_replaces_the_pod_and_keeps_the_port(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        (old,), port = api.names(POD), api.the(STACK)["status"]["nodePort"]
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("2")))
        await operator.settled()
        (new,) = api.names(POD)
        assert new != old
        assert api.the(POD)["spec"]["containers"][0]["image"].endswith(":2")
        status = api.the(STACK)["status"]
        assert (status["nodePort"], status["podName"]) == (port, new)
        assert (status["observedGeneration"], reason(api)) == (2, Reason.RUNNING)


async def test_a_template_that_comes_back_while_its_pod_is_going(api: FakeApi) -> None:
    """As Git does with a revert: the old pod is on its way out, and must be neither kept nor mourned."""
    api.graceful = True
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        (first,) = api.names(POD)
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("2")))
        await operator.settled()
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("1")))
        await operator.settled()
        assert api.names(POD) == [first]  # it waits for the name
        api.finish(POD, first)
        await operator.settled()
        assert api.names(POD) == [first]
        assert "deletionTimestamp" not in api.the(POD)["metadata"]
        assert reason(api) == Reason.RUNNING


async def test_a_larger_template_is_admitted_anew(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.put(NODE, a_node(cpu="2", memory="4Gi"))  # 1600m of it for stacks
    async with Operator(api, settings()) as operator:
        for problem in (1, 2):
            api.put(STACK, a_stack(1, problem))
        await operator.settled()
        amounts = {"requests": {"cpu": "1200m", "memory": "64Mi"}, "limits": {"cpu": "1200m", "memory": "64Mi"}}
        large = good_template({"spec.containers[0].resources": amounts})
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=large))
        await operator.settled()
        assert reason(api, "stack-1-2") == Reason.CLUSTER_SATURATED
        assert reason(api, "stack-1-1") == Reason.RUNNING
        assert len(api.names(POD)) == 1


async def test_a_deleted_stack_gives_everything_back(api: FakeApi) -> None:
    async with Operator(api, settings(stack_max_per_user=1)) as operator:
        api.put(STACK, a_stack(1, 2))
        await operator.settled()
        api.remove(STACK, "stack-1-2")
        await operator.settled()
        assert children(api) == 0
        assert operator.ledger._claims == {}
        api.put(STACK, a_stack(1, 3))
        await operator.settled()
        assert reason(api, "stack-1-3") == Reason.RUNNING


async def test_a_stack_made_anew_before_the_garbage_collector_came(api: FakeApi) -> None:
    api.collects = False
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        api.remove(STACK, "stack-1-2")
        again = a_stack()
        again["metadata"]["uid"] = "uid-again"
        api.put(STACK, again)
        await until(lambda: reason(api) == Reason.RUNNING)
        await operator.settled()
        for kind in (SERVICE, NETWORK_POLICY):
            assert api.the(kind)["metadata"]["ownerReferences"][0]["uid"] == "uid-again"
        assert api.the(SERVICE)["spec"]["selector"] == {"slipway.dev/uid": "uid-again"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", 6000), ("targetPort", 6000), ("nodePort", 32001), ("name", "mine")],
)
async def test_a_service_port_edited_by_hand_is_put_back(api: FakeApi, field: str, value: object) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        before = api.the(SERVICE)["spec"]
        api.edit(SERVICE, "stack-1-2", lambda s: s["spec"]["ports"][0].update({field: value}))
        await until(lambda: api.the(SERVICE)["spec"] == before)
        await operator.settled()
        assert reason(api) == Reason.RUNNING


async def test_a_selector_and_a_policy_edited_by_hand_are_put_back(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        policy = api.the(NETWORK_POLICY)["spec"]
        api.edit(SERVICE, "stack-1-2", lambda s: s["spec"].update(selector={"slipway.dev/uid": "another"}))
        api.edit(NETWORK_POLICY, "stack-1-2", lambda p: p["spec"].update(ingress=[{}], egress=[{}]))
        await until(lambda: api.the(NETWORK_POLICY)["spec"] == policy)
        await until(lambda: api.the(SERVICE)["spec"]["selector"] == {"slipway.dev/uid": "uid-1-2"})


async def test_what_others_add_to_a_service_stays(api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        api.edit(SERVICE, "stack-1-2", lambda s: s["metadata"].update(annotations={"lb": "x"}))
        api.edit(SERVICE, "stack-1-2", lambda s: s["spec"].update(externalTrafficPolicy="Local"))
        await operator.settled()
        assert api.the(SERVICE)["metadata"]["annotations"] == {"lb": "x"}
        assert api.the(SERVICE)["spec"]["externalTrafficPolicy"] == "Local"
    assert api.write_counts()["update services"] == 0


async def test_a_conflict_on_the_status_is_tried_again(api: FakeApi) -> None:
    api.refuse("patch_status", STACK, api_answers.MODIFIED, times=3)
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        assert reason(api) == Reason.RUNNING


@pytest.mark.parametrize("kind", [POD, SERVICE, NETWORK_POLICY])
@pytest.mark.parametrize(
    "answer",
    [
        api_answers.INTERNAL,
        api_answers.TOO_MANY,
        api_answers.UNAUTHORIZED,
        api_answers.NO_RIGHT,
        api_answers.QUOTA_RACED,
        api_answers.QUOTA_IS_NEW,
        api_answers.NAMESPACE_ENDS,
    ],
    ids=lambda answer: answer.message[:40] if isinstance(answer, api_answers.Answer) else answer.plural,
)
async def test_what_may_pass_is_no_reason_to_refuse(api: FakeApi, kind: Kind, answer: api_answers.Answer) -> None:
    api.refuse("create", kind, answer, times=3)
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        assert reason(api) == Reason.RUNNING
        assert reasons(api) == [Reason.RUNNING] or reasons(api) == [Reason.STARTING, Reason.RUNNING]


async def test_a_taken_port_is_left_for_another(api: FakeApi) -> None:
    for number in (30000, 30002):
        api.put(SERVICE, a_service(f"other-{number}", number))
    async with Operator(api, settings(stack_nodeport_min=30000, stack_nodeport_max=30002)) as operator:
        api.put(STACK, a_stack())
        await operator.settled()
        assert api.the(STACK)["status"]["nodePort"] == 30001
        assert reason(api) == Reason.RUNNING


async def test_one_stack_that_cannot_be_made_does_not_hold_up_others(api: FakeApi) -> None:
    broken = a_stack(1, 1)
    broken["metadata"]["name"] = "a-broken-one"
    async with Operator(api, settings(workers=1)) as operator:
        api.refuse("create", NETWORK_POLICY, api_answers.INTERNAL, times=40)
        api.put(STACK, broken)
        await until(lambda: operator.controller._queue._failures)
        api.admit_all()
        api.put(STACK, a_stack(1, 2))
        await until(lambda: reason(api, "stack-1-2") == Reason.RUNNING)
        await operator.settled()


async def test_many_stacks_at_once(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.put(NODE, a_node(cpu="1000", memory="1000Gi"))
    async with Operator(api, settings(stack_nodeport_min=30000, stack_nodeport_max=30059)) as operator:
        for user in range(60):
            api.put(STACK, a_stack(user + 1, 1))
        await operator.settled()
        ports = [api.get(STACK, n)["status"]["nodePort"] for n in api.names(STACK)]
        assert sorted(ports) == list(range(30000, 30060))
    assert api.write_counts()["create pods"] == 60
    assert api.write_counts()["patch_status stacks"] <= 120


async def test_after_a_restart_the_older_stack_goes_first(api: FakeApi, clock: Clock) -> None:
    """The operator was away while both came; the API server lists them by name, not by age."""
    api.put(STACK, a_stack(1, 2, name="z-older"))
    clock.advance(5)
    api.put(STACK, a_stack(1, 2, name="a-younger"))
    async with Operator(api, settings()) as operator:
        await operator.settled()
        assert reason(api, "z-older") == Reason.RUNNING
        assert reason(api, "a-younger") == Reason.ALREADY_EXISTS


async def test_a_restart_remembers_pairs_ports_users_and_room(api: FakeApi) -> None:
    given = {"stack_max_per_user": 2, "stack_nodeport_min": 30000, "stack_nodeport_max": 30002}
    async with Operator(api, settings(**given)) as operator:
        for problem in (1, 2):
            api.put(STACK, a_stack(1, problem))
        await operator.settled()
        before = copy.deepcopy(operator.ledger._claims)
        assert len(before) == 2
    async with Operator(api, settings(**given)) as restarted:
        await restarted.settled()
        assert restarted.ledger._claims == before
        api.put(STACK, a_stack(1, 3))
        api.put(STACK, a_stack(9, 1, name="another-name"))
        await restarted.settled()
        assert reason(api, "stack-1-3") == Reason.USER_LIMIT_REACHED
        assert reason(api, "another-name") == Reason.RUNNING
    assert api.write_counts()["create services"] == 3


async def test_a_stack_of_the_same_pair_in_the_way(api: FakeApi) -> None:
    """A Service of a live Stack that this operator has not heard of (as after a split brain) stays."""
    async with Operator(api, settings()) as operator:
        operator.cluster.deaf_to = lambda event: "other" in str(event.obj["metadata"])
        api.put(STACK, a_stack(1, 2, name="other"))
        service = api.put(SERVICE, a_service("stack-1-2", 30007, owner=controller_of("Stack", "other", "uid-other")))
        api.put(STACK, a_stack(1, 2))
        await operator.settled()
        assert reason(api) == Reason.ALREADY_EXISTS
        assert api.the(SERVICE) == service


def annotate(note: str) -> Callable[[Object], None]:
    return lambda stack: stack["metadata"].update(annotations={"note": note})


async def test_a_pod_that_is_going_is_deleted_once(api: FakeApi) -> None:
    api.graceful = True
    async with Operator(api, settings()) as operator:
        api.put(STACK, a_stack(template=image("1")))
        await operator.settled()
        api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(template=image("2")))
        await operator.settled()
        for note in "ab":
            api.edit(STACK, "stack-1-2", annotate(note))
            await operator.settled()
        assert api.write_counts()["delete pods"] == 1
        (going,) = api.names(POD)
        api.finish(POD, going)
        await operator.settled()
        assert api.names(POD) != [going]
