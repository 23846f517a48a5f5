"""A Stack and what is seen of its children -> its status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from slipway.api.meta import Object
from slipway.api.stack import ENDED_POD, Reason, Requested, Stack, StackStatus
from slipway.observers.conditions import Observation, conditions


def decided(pod: Object) -> bool:
    """Whether the scheduler has spoken; before that there is nothing to say that a status write would be worth."""
    scheduled = any(c["type"] == "PodScheduled" for c in pod.get("status", {}).get("conditions", []))
    return scheduled or "nodeName" in pod["spec"]


def observe(
    stack: Stack, pod: Object, service: Object, requested: Requested, expires_at: datetime, now: datetime
) -> StackStatus:
    """Status of a Stack that runs, or is on its way there, or whose pod has ended."""
    reason, message = _pod_state(pod)
    ready = Observation("Ready", "True" if reason == Reason.RUNNING else "False", reason, message)
    seen = [ready]
    if reason in ENDED_POD:
        seen.append(Observation("Stalled", "True", reason, message))
    return StackStatus(
        observed_generation=stack.metadata.generation,
        conditions=conditions(stack.status, stack.metadata.generation, seen, now),
        pod_name=pod["metadata"]["name"],
        service_name=service["metadata"]["name"],
        node_name=pod["spec"].get("nodeName"),
        node_port=service["spec"]["ports"][0]["nodePort"],
        requested=requested,
        expires_at=expires_at,
    )


def held(stack: Stack, pod: Object, reason: Reason, message: str, expires_at: datetime, now: datetime) -> StackStatus:
    """Status of a Stack whose new spec was refused, while the pod of the one before goes on."""
    state, text = _pod_state(pod)
    ready = Observation("Ready", "True" if state == Reason.RUNNING else "False", state, text)
    seen = [ready, Observation("Stalled", "True", reason, message)]
    generation = stack.metadata.generation
    return stack.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions(stack.status, generation, seen, now),
            "expires_at": expires_at,
        }
    )


def over(stack: Stack, reason: Reason, message: str, expires_at: datetime, now: datetime) -> StackStatus:
    """Status of a Stack that was refused, lost a part, or whose time is over: it holds nothing any more."""
    seen = [Observation("Ready", "False", reason, message), Observation("Stalled", "True", reason, message)]
    return StackStatus(
        observed_generation=stack.metadata.generation,
        conditions=conditions(stack.status, stack.metadata.generation, seen, now),
        node_name=stack.status.node_name,
        expires_at=expires_at,
    )


def _pod_state(pod: Object) -> tuple[str, str]:
    """One reason and one line for people, from the pod's phase, conditions and containers."""
    status = pod.get("status", {})
    found = {c["type"]: c for c in status.get("conditions", [])}
    if status.get("phase") in ("Succeeded", "Failed"):
        return _ended_state(status)
    if found.get("Ready", {}).get("status") == "True":
        return Reason.RUNNING, "the pod is ready"
    if not pod["spec"].get("nodeName"):
        return Reason.SCHEDULING, found.get("PodScheduled", {}).get("message", "waiting for a node")
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return waiting["reason"], f"container {container['name']}: {_waiting(container, waiting)}"
    return Reason.STARTING, "waiting for the containers to start and be ready"


def _ended_state(status: Mapping[str, Any]) -> tuple[str, str]:
    """A pod that has run to its end. A shell may exit with 0 although its child was killed for memory."""
    killed = any(ended.get("reason") == "OOMKilled" for _, ended in _ends(status))
    if status["phase"] == "Succeeded" and not killed:
        return Reason.POD_SUCCEEDED, "every container ended with exit code 0"
    return Reason.POD_FAILED, _failure(status)


def _containers(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _ends(status: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(name, how it ended) of the containers that have."""
    states = ((c["name"], c.get("state", {}).get("terminated")) for c in _containers(status))
    return [(name, ended) for name, ended in states if ended]


def _failure(status: Mapping[str, Any]) -> str:
    if status.get("reason"):  # Evicted, DeadlineExceeded, …: the containers only say that they were killed
        return ": ".join(filter(None, (status["reason"], status.get("message"))))
    for name, ended in _ends(status):
        if ended.get("exitCode") or ended.get("reason") == "OOMKilled":
            return f"container {name}: {_ended(ended)}"
    return str(status.get("message") or "the pod failed")


def _waiting(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> str:
    """Why a container does not come up: of a crash loop, how it last ended."""
    ended = container.get("lastState", {}).get("terminated")
    return _ended(ended) if ended else str(waiting.get("message") or waiting["reason"])


def _ended(ended: Mapping[str, Any]) -> str:
    return f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}"
