"""What is seen of the children -> status: one table of pod states."""

from datetime import timedelta
from typing import Any

import pytest

from slipway.api.meta import Object
from slipway.api.stack import Reason, Requested, Stack, StackStatus
from slipway.observers.stack import decided, observe, over
from tests.support.objects import CREATED, a_stack, parsed, with_condition

NOW = CREATED + timedelta(seconds=30)
EXPIRES = CREATED + timedelta(hours=2)
REQUESTED = Requested(cpu_milli=500, memory_bytes=2**28)
SERVICE = {"metadata": {"name": "stack-1-2"}, "spec": {"ports": [{"nodePort": 30001}]}}
SCHEDULED = {"type": "PodScheduled", "status": "True"}
NOT_READY = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}


def a_pod(phase: str = "Pending", node: str | None = "node-1", **status: Any) -> Object:
    return {
        "metadata": {"name": "stack-1-2-abc", "creationTimestamp": "2026-01-01T12:00:01Z"},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": [SCHEDULED] if node else [], **status},
    }


def waiting(reason: str, message: str = "", last: Any = None, name: str = "app") -> Object:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"name": name, "ready": False, "state": state, "lastState": {"terminated": last} if last else {}}


def ended(code: int, reason: str = "Error", name: str = "app") -> Object:
    return {"name": name, "ready": False, "state": {"terminated": {"exitCode": code, "reason": reason}}}


def running(name: str = "app", *, ready: bool = True) -> Object:
    return {"name": name, "ready": ready, "state": {"running": {"startedAt": "2026-01-01T12:00:05Z"}}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}
KILLED = [ended(137, "ContainerStatusUnknown")]

# (what, pod, Ready, reason, part of the message, whether Stalled)
STATES: list[tuple[str, Object, str, str, str, bool]] = [
    ("no-node", a_pod(node=None), "False", Reason.SCHEDULING, "waiting for a node", False),
    (
        "unschedulable",
        a_pod(node=None, conditions=[UNSCHEDULABLE]),
        "False",
        Reason.SCHEDULING,
        "1 Insufficient cpu",
        False,
    ),
    ("scheduled", a_pod(), "False", Reason.STARTING, "waiting for the containers", False),
    (
        "creating",
        a_pod(conditions=[SCHEDULED, NOT_READY], containerStatuses=[waiting("ContainerCreating")]),
        "False",
        Reason.STARTING,
        "waiting for the containers",
        False,
    ),
    (
        "initializing",
        a_pod(initContainerStatuses=[running("init")], containerStatuses=[waiting("PodInitializing")]),
        "False",
        Reason.STARTING,
        "waiting for the containers",
        False,
    ),
    (
        "image",
        a_pod(containerStatuses=[waiting("ImagePullBackOff", 'Back-off pulling image "nope:1"')]),
        "False",
        "ImagePullBackOff",
        'container app: Back-off pulling image "nope:1"',
        False,
    ),
    (
        "config",
        a_pod(containerStatuses=[running("first"), waiting("CreateContainerConfigError")]),
        "False",
        "CreateContainerConfigError",
        "container app: CreateContainerConfigError",
        False,
    ),
    (
        "crash-loop",
        a_pod(
            "Running",
            containerStatuses=[waiting("CrashLoopBackOff", "back-off 10s", {"exitCode": 3, "reason": "Error"})],
        ),
        "False",
        "CrashLoopBackOff",
        "container app: Error, exit code 3",
        False,
    ),
    (
        "crash-loop-for-memory",
        a_pod(
            "Running",
            containerStatuses=[waiting("CrashLoopBackOff", "x", {"exitCode": 137, "reason": "OOMKilled"})],
        ),
        "False",
        "CrashLoopBackOff",
        "container app: OOMKilled, exit code 137",
        False,
    ),
    (
        "init-crash-loop",
        a_pod(
            initContainerStatuses=[waiting("CrashLoopBackOff", "x", {"exitCode": 1, "reason": "Error"}, "init")],
            containerStatuses=[waiting("PodInitializing")],
        ),
        "False",
        "CrashLoopBackOff",
        "container init: Error, exit code 1",
        False,
    ),
    (
        "running-not-ready",
        a_pod("Running", conditions=[SCHEDULED, NOT_READY], containerStatuses=[running(ready=False)]),
        "False",
        Reason.STARTING,
        "be ready",
        False,
    ),
    (
        "ready",
        a_pod("Running", conditions=[SCHEDULED, {"type": "Ready", "status": "True"}], containerStatuses=[running()]),
        "True",
        Reason.RUNNING,
        "ready",
        False,
    ),
    (
        "succeeded",
        a_pod("Succeeded", containerStatuses=[ended(0, "Completed")]),
        "False",
        Reason.POD_SUCCEEDED,
        "0",
        True,
    ),
    (
        "failed",
        a_pod("Failed", containerStatuses=[ended(0, "Completed", "sidekick"), ended(2)]),
        "False",
        Reason.POD_FAILED,
        "container app: Error, exit code 2",
        True,
    ),
    (
        "failed-for-memory",
        a_pod("Failed", containerStatuses=[ended(137, "OOMKilled")]),
        "False",
        Reason.POD_FAILED,
        "OOMKilled",
        True,
    ),
    (
        "memory-behind-exit-code-0",
        a_pod("Succeeded", containerStatuses=[ended(0, "OOMKilled")]),
        "False",
        Reason.POD_FAILED,
        "OOMKilled",
        True,
    ),
    (
        "init-failed",
        a_pod("Failed", initContainerStatuses=[ended(4, name="init")], containerStatuses=[waiting("PodInitializing")]),
        "False",
        Reason.POD_FAILED,
        "container init: Error, exit code 4",
        True,
    ),
    (
        "evicted",
        a_pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        "False",
        Reason.POD_FAILED,
        "low on resource: memory",
        True,
    ),
    (
        "evicted-with-containers",
        a_pod("Failed", reason="Evicted", message="The node was low on resource: memory.", containerStatuses=KILLED),
        "False",
        Reason.POD_FAILED,
        "low on resource: memory",
        True,
    ),
    (
        "deadline",
        a_pod("Failed", reason="DeadlineExceeded", message="Pod was active too long", containerStatuses=KILLED),
        "False",
        Reason.POD_FAILED,
        "DeadlineExceeded",
        True,
    ),
    ("failed-in-silence", a_pod("Failed"), "False", Reason.POD_FAILED, "failed", True),
    ("no-status-yet", {**a_pod(), "status": {}}, "False", Reason.STARTING, "", False),
]


def seen(stack: Stack, pod: Object, now: Any = NOW) -> StackStatus:
    return observe(stack, pod, SERVICE, REQUESTED, EXPIRES, now)


@pytest.mark.parametrize(
    ("pod", "ready", "reason", "message", "stalled"), [s[1:] for s in STATES], ids=[s[0] for s in STATES]
)
def test_states(pod: Object, ready: str, reason: str, message: str, stalled: bool) -> None:
    status = seen(parsed(a_stack(), generation=4), pod)
    condition = status.condition("Ready")
    assert condition
    assert (condition.status, condition.reason) == (ready, reason)
    assert message in condition.message
    assert bool(status.stalled) is stalled
    if status.stalled:
        assert (status.stalled.reason, status.stalled.message) == (reason, condition.message)
    assert status.observed_generation == 4
    assert {c.observed_generation for c in status.conditions} == {4}
    assert condition.last_transition_time == NOW
    assert (status.pod_name, status.service_name, status.node_port) == ("stack-1-2-abc", "stack-1-2", 30001)
    assert status.node_name == pod["spec"].get("nodeName")
    assert (status.requested, status.expires_at) == (REQUESTED, EXPIRES)


def test_an_unchanged_status_keeps_its_time() -> None:
    before = seen(parsed(a_stack()), a_pod()).to_object()
    stack = parsed(a_stack() | {"status": before})
    later = NOW + timedelta(minutes=1)
    same = seen(stack, a_pod(containerStatuses=[waiting("ImagePullBackOff")]), later).condition("Ready")
    assert same
    assert (same.reason, same.last_transition_time) == ("ImagePullBackOff", NOW)
    ready = a_pod("Running", conditions=[{"type": "Ready", "status": "True"}])
    changed = seen(stack, ready, later).condition("Ready")
    assert changed
    assert (changed.status, changed.last_transition_time) == ("True", later)


def test_what_was_written_is_observed_the_same_again() -> None:
    """Else each reconcile would write: times must survive the trip to the API server, which keeps whole seconds."""
    now = NOW + timedelta(microseconds=654321)
    first = observe(parsed(a_stack()), a_pod(), SERVICE, REQUESTED, EXPIRES + timedelta(microseconds=1), now)
    stack = parsed(a_stack() | {"status": first.to_object()})
    second = observe(stack, a_pod(), SERVICE, REQUESTED, EXPIRES, now + timedelta(hours=1))
    assert second.to_object() == first.to_object()


def test_over_holds_nothing_any_more() -> None:
    ran = with_condition(
        a_stack(), Reason.RUNNING, ready="True", podName="p", serviceName="s", nodePort=30001, nodeName="node-1"
    )
    status = over(parsed(ran, generation=2), Reason.NODE_DELETED, "node node-1 was deleted", EXPIRES, NOW)
    assert status.to_object() == {
        "observedGeneration": 2,
        "conditions": [
            {
                "type": type_,
                "status": value,
                "reason": "NodeDeleted",
                "message": "node node-1 was deleted",
                "lastTransitionTime": "2026-01-01T12:00:30Z",
                "observedGeneration": 2,
            }
            for type_, value in (("Ready", "False"), ("Stalled", "True"))
        ],
        "nodeName": "node-1",
        "expiresAt": "2026-01-01T14:00:00Z",
    }


def test_a_message_fits_the_schema() -> None:
    status = over(parsed(a_stack()), Reason.REJECTED, "x" * 5000, EXPIRES, NOW)
    assert {len(c.message) for c in status.conditions} == {2048}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (a_pod(node=None), False),
        ({**a_pod(node=None), "status": {}}, False),
        (a_pod(node=None, conditions=[UNSCHEDULABLE]), True),
        (a_pod(), True),
        (a_pod(conditions=[]), True),
    ],
)
def test_whether_the_scheduler_has_spoken(pod: Object, expected: bool) -> None:
    assert decided(pod) is expected
