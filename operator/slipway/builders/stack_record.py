"""A Stack as one flat record: what REST answers, and what the mirror table holds."""

import json
from datetime import datetime
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field

from slipway.api.meta import Time
from slipway.api.stack import Reason, Stack
from slipway.builders.stack import build_pod
from slipway.errors import InvalidInput
from slipway.rules.pod_spec import NO_LIMITS, sanitize

State = Literal["creating", "running", "stopped", "failed", "node_deleted"]

STATES: dict[str, State] = {
    Reason.SCHEDULING: "creating",
    Reason.STARTING: "creating",
    Reason.RUNNING: "running",
    Reason.POD_SUCCEEDED: "stopped",
    Reason.EXPIRED: "stopped",
    Reason.NODE_DELETED: "node_deleted",
}
"""Of the reasons of a Stack's Ready condition; every other one is `failed`."""


class StackRecord(BaseModel):
    """A stack. What is not known yet is null."""

    stack_id: str
    user_id: int
    problem_id: int
    pod_id: str | None
    namespace: str
    node_id: str | None
    pod_spec: Annotated[str, Field(description="The sanitized pod, as YAML")]
    target_port: int
    node_port: int | None
    service_name: str | None
    status: State
    ttl_expires_at: Time | None
    created_at: Time
    updated_at: Time
    requested_cpu_milli: int
    requested_memory_bytes: int


def record(stack: Stack) -> StackRecord:
    status, requested = stack.status, stack.status.requested
    created = stack.metadata.creation_timestamp
    if created is None:
        raise ValueError("the stack has not been created yet")
    return StackRecord(
        stack_id=stack.metadata.uid,
        user_id=stack.spec.user_id,
        problem_id=stack.spec.problem_id,
        pod_id=status.pod_name,
        namespace=stack.metadata.namespace,
        node_id=status.node_name,
        pod_spec=_pod_spec(stack),
        target_port=stack.spec.target_port,
        node_port=status.node_port,
        service_name=status.service_name,
        status=state(stack),
        ttl_expires_at=status.expires_at,
        created_at=created,
        updated_at=_updated(stack, created),
        requested_cpu_milli=requested.cpu_milli if requested else 0,
        requested_memory_bytes=requested.memory_bytes if requested else 0,
    )


def state(stack: Stack) -> State:
    ready = stack.status.condition("Ready")
    return state_of(ready.reason if ready else None)


def state_of(reason: str | None) -> State:
    """reason: of the Ready condition; None while there is none."""
    return STATES.get(reason, "failed") if reason else "creating"


class _Plain(yaml.CSafeDumper):
    """Writes parts that are equal in full, with no aliases: what we answer is what we would accept."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def _updated(stack: Stack, created: datetime) -> datetime:
    return max([created, *(c.last_transition_time for c in stack.status.conditions)])


def _pod_spec(stack: Stack) -> str:
    """The pod that runs, but for what ties it to its owner; of a refused Stack, what was asked for."""
    try:
        pod = build_pod(stack, sanitize(stack.spec.template, stack.spec.target_port, NO_LIMITS))
    except InvalidInput:
        return json.dumps(stack.spec.template)  # YAML as well; and it may be deeper than the YAML writer can go
    del pod["metadata"]["ownerReferences"]
    return yaml.dump(pod, Dumper=_Plain, sort_keys=False)
