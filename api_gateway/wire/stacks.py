"""Requests and answers of the Stack API."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field

from api_gateway.wire.body import Request
from slipway.api.kinds import STACK
from slipway.api.meta import Object, Time
from slipway.api.stack import Identifier, Reason, Stack
from slipway.builders.stack import build_pod
from slipway.errors import InvalidInput
from slipway.rules.names import stack_name
from slipway.rules.pod_spec import NO_LIMITS, PodLimits, SanitizedPod, sanitize
from slipway.rules.pod_yaml import parse_pod

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


EXAMPLE_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: problem-1001
spec:
  containers:
    - name: app
      image: ghcr.io/example/problem:latest
      ports:
        - containerPort: 5000
      resources:
        requests:
          cpu: "500m"
          memory: "256Mi"
"""


class CreateStack(Request):
    """A player asks for a problem's pod."""

    user_id: Identifier
    problem_id: Identifier
    target_port: Annotated[int, Field(ge=1, le=65535, description="The one port that the pod exposes", examples=[5000])]
    pod_spec: Annotated[str, Field(description="A Pod manifest, as YAML or JSON text", examples=[EXAMPLE_POD])]

    def pod(self, limits: PodLimits) -> SanitizedPod:
        """The pod asked for, or InvalidInput."""
        return sanitize(parse_pod(self.pod_spec), self.target_port, limits, root="pod_spec")

    def resource(self, pod: SanitizedPod) -> Object:
        """The Stack to create. Its name is the pair's, so that the API server refuses a second one."""
        return {
            "apiVersion": STACK.api_version,
            "kind": STACK.kind,
            "metadata": {"name": stack_name(self.user_id, self.problem_id)},
            "spec": {
                "userId": self.user_id,
                "problemId": self.problem_id,
                "targetPort": self.target_port,
                "template": {"metadata": {"labels": pod.labels, "annotations": pod.annotations}, "spec": pod.spec},
            },
        }


class StackView(BaseModel):
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


class StackList(BaseModel):
    stacks: list[StackView]


class StackStatusView(BaseModel):
    """What a player's page polls."""

    stack_id: str
    status: State
    ttl: Annotated[Time | None, Field(description="When the stack ends")]
    node_port: int | None
    target_port: int


class Deleted(BaseModel):
    deleted: Literal[True] = True
    stack_id: str


class Stats(BaseModel):
    """All stacks together. Active ones are creating or running; one that ended by itself still holds what it had."""

    total_stacks: int
    active_stacks: int
    node_distribution: Annotated[dict[str, int], Field(description="Active stacks by node")]
    used_node_ports: Annotated[int, Field(description="How many node ports are held")]
    reserved_cpu_milli: int
    reserved_memory_bytes: int


def view(stack: Stack) -> StackView:
    status, requested = stack.status, stack.status.requested
    created = stack.metadata.creation_timestamp
    if created is None:
        raise ValueError("the stack has not been created yet")
    return StackView(
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


def status_view(stack: Stack) -> StackStatusView:
    return StackStatusView(
        stack_id=stack.metadata.uid,
        status=state(stack),
        ttl=stack.status.expires_at,
        node_port=stack.status.node_port,
        target_port=stack.spec.target_port,
    )


def stats(stacks: Iterable[Stack]) -> Stats:
    everything = list(stacks)
    active = [s for s in everything if state(s) in ("creating", "running")]
    nodes: dict[str, int] = {}
    for node in (s.status.node_name for s in active):
        if node:
            nodes[node] = nodes.get(node, 0) + 1
    requested = [s.status.requested for s in everything if s.status.requested]
    return Stats(
        total_stacks=len(everything),
        active_stacks=len(active),
        node_distribution=nodes,
        used_node_ports=sum(s.status.node_port is not None for s in everything),
        reserved_cpu_milli=sum(r.cpu_milli for r in requested),
        reserved_memory_bytes=sum(r.memory_bytes for r in requested),
    )


def state(stack: Stack) -> State:
    ready = stack.status.condition("Ready")
    return STATES.get(ready.reason, "failed") if ready else "creating"


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
