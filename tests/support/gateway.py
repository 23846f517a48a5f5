"""The gateway as its clients see it, and an operator of few words behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kmock
from aiohttp import web
from aiohttp.test_utils import TestClient

from slipway.api.kinds import STACK
from slipway.api.meta import Object
from slipway.api.stack import Reason
from tests.support.fake_api import Event, FakeApi
from tests.support.objects import with_condition
from tests.support.pods import TARGET_PORT, good_template, pod_yaml


@dataclass(frozen=True)
class Gateway:
    """One running gateway over one API server."""

    client: TestClient[web.Request, web.Application]
    api: FakeApi
    kube: kmock.KubernetesScaffold

    async def call(self, method: str, path: str, json: Any = None, **options: Any) -> tuple[int, Any]:
        """(status, decoded body)"""
        given = {"json": json} if json is not None else {}
        async with self.client.request(method, path, **given, **options) as response:
            assert response.content_type == "application/json", await response.text()
            return response.status, await response.json()


def ask(user: int = 1, problem: int = 2, **fields: Any) -> Object:
    """The body of POST /stacks."""
    body = {"user_id": user, "problem_id": problem, "target_port": TARGET_PORT, "pod_spec": pod_yaml(good_template())}
    return body | fields


def placed(stack: Object) -> Object:
    """As the operator leaves a Stack whose pod runs."""
    return with_condition(
        stack,
        Reason.RUNNING,
        ready="True",
        podName="stack-1-2-abc",
        serviceName="stack-1-2",
        nodeName="node-1",
        nodePort=30001,
        requested={"cpuMilli": 500, "memoryBytes": 2**28},
        expiresAt="2026-01-01T14:00:00Z",
    )


def refused(reason: str) -> Callable[[Object], Object]:
    return lambda stack: with_condition(stack, reason, stalled=True)


def answer_with(api: FakeApi, verdict: Callable[[Object], Object]) -> Callable[[], None]:
    """An operator that gives every new Stack the same status."""

    def heard(event: Event) -> None:
        if event.kind == STACK and event.change == "ADDED":
            name = event.obj["metadata"]["name"]
            api.edit(STACK, name, lambda obj: obj.update(status=verdict(obj)["status"]))

    return api.subscribe(heard)
