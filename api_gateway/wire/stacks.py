"""Requests and answers of the Stack API."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from api_gateway.wire.body import Request
from slipway.api.kinds import STACK
from slipway.api.meta import Object, Time
from slipway.api.stack import TTL, TTL_LENGTH, Identifier, Stack
from slipway.builders.meta import TENANT
from slipway.builders.stack_record import StackRecord, State, state
from slipway.rules.durations import parse_duration
from slipway.rules.names import stack_name
from slipway.rules.pod_spec import PodLimits, SanitizedPod, sanitize
from slipway.rules.pod_yaml import parse_pod

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

    def resource(self, pod: SanitizedPod, tenant: str = "") -> Object:
        """The Stack to create. Its name is the pair's, so that the API server refuses a second one."""
        labels = {"labels": {TENANT: tenant}} if tenant else {}
        return {
            "apiVersion": STACK.api_version,
            "kind": STACK.kind,
            "metadata": {"name": stack_name(self.user_id, self.problem_id, tenant), **labels},
            "spec": {
                "tenant": tenant,
                "userId": self.user_id,
                "problemId": self.problem_id,
                "targetPort": self.target_port,
                "template": {"metadata": {"labels": pod.labels, "annotations": pod.annotations}, "spec": pod.spec},
            },
        }


def _duration(text: str) -> str:
    if not re.fullmatch(TTL, text):
        raise ValueError("must be a duration such as 2h, 1h30m or 90s")
    parse_duration(text)
    return text


class RenewStack(Request):
    """A player wants to go on."""

    ttl: Annotated[
        str,
        AfterValidator(_duration),
        Field(
            max_length=TTL_LENGTH,
            json_schema_extra={"pattern": TTL},
            description="How long the stack shall live from now on; STACK_TTL, or as much of it as may be, if absent",
            examples=["1h"],
        ),
    ] = ""


class StackList(BaseModel):
    stacks: list[StackRecord]


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
