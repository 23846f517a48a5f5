"""Kubernetes objects as tests need them: complete, and different only in what the test names."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from slipway.api.kinds import STACK
from slipway.api.meta import Object, timestamp
from slipway.api.stack import Stack
from slipway.rules.pod_spec import PodLimits, SanitizedPod, sanitize
from slipway.settings import Settings
from tests.support.pods import TARGET_PORT, good_template

NAMESPACE = "stacks"
CREATED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LIMITS = PodLimits(cpu_milli=2000, memory_bytes=512 * 2**20)


def a_stack(user: int = 1, problem: int = 2, *, name: str = "", template: Object | None = None, **spec: Any) -> Object:
    """A Stack as someone applies it. spec: further fields, such as ttl and onExpiry."""
    return {
        "apiVersion": STACK.api_version,
        "kind": STACK.kind,
        "metadata": {
            "name": name or f"stack-{user}-{problem}",
            "namespace": NAMESPACE,
            "uid": f"uid-{name or f'{user}-{problem}'}",  # a real server chooses; tests like to know
        },
        "spec": {
            "userId": user,
            "problemId": problem,
            "targetPort": TARGET_PORT,
            "template": template or good_template(),
            **spec,
        },
    }


def stored(resource: Object, *, version: int = 1, generation: int = 1, created: datetime = CREATED) -> Object:
    """The same as the API server has it."""
    given = {"resourceVersion": str(version), "generation": generation, "creationTimestamp": timestamp(created)}
    status = {"status": {"observedGeneration": -1}} | resource
    return status | {"metadata": resource["metadata"] | given}


def parsed(resource: Object, **given: Any) -> Stack:
    """A Stack as the operator reads it."""
    return Stack.model_validate(stored(resource, **given))


def clean(template: Object | None = None, port: int = TARGET_PORT) -> SanitizedPod:
    return sanitize(template or good_template(), port, LIMITS)


def with_condition(
    resource: Object, reason: str, *, stalled: bool = False, ready: str = "False", **status: Any
) -> Object:
    """A resource whose status says `reason`, in its present generation."""
    types = ["Ready", *(["Stalled"] if stalled else [])]
    said = {"reason": reason, "message": f"because of {reason}", "lastTransitionTime": timestamp(CREATED)}
    conditions = [said | {"type": t, "status": "True" if t == "Stalled" else ready} for t in types]
    generation = resource["metadata"].get("generation", 1)
    return resource | {"status": {"observedGeneration": generation, "conditions": conditions} | status}


def a_node(
    name: str = "node-1",
    cpu: str = "8",
    memory: str = "16Gi",
    *,
    ready: bool = True,
    cordoned: bool = False,
    taint: str = "",
) -> Object:
    """taint: effect of one."""
    spec: Object = {"unschedulable": True} if cordoned else {}
    if taint:
        spec["taints"] = [{"key": "k", "effect": taint}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "True" if ready else "Unknown"},
            ],
        },
    }


def a_service(name: str, node_port: int, *, owner: Object | None = None) -> Object:
    """A Service of someone else's making. owner: the reference to what controls it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, **({"ownerReferences": [owner]} if owner else {})},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "other"},
            "ports": [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": 80, "nodePort": node_port}],
        },
    }


def controller_of(kind: str, name: str, uid: str, group: str = "slipway.dev/v1alpha1") -> Object:
    return {"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": True}


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take our variables out of the environment."""
    for name in os.environ:
        if name.startswith(("SLIPWAY_", "STACK_", "DDB_")):
            monkeypatch.delenv(name)


def some_settings(**given: Any) -> Settings:
    """Settings by their names in code."""
    return Settings(**given)
