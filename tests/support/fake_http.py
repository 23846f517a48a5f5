"""A FakeApi served over HTTP by kmock, for what talks to the API server through the real `Cluster`.

kmock gives the server, the log of requests, API discovery, and answers scripted by a test, which come first:
`kmock["post", "/…/stacks"] << 500`. Why it does not keep the objects is told in fake_api.py.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import kmock
import yaml
from kmock._internal.rendering import Response  # kmock names it, but does not export it

from slipway.api.kinds import EVENT, LEASE, NETWORK_POLICY, NODE, POD, SECRET, SERVICE, STACK, Kind
from tests.support.api_answers import Answer
from tests.support.fake_api import FakeApi

KINDS = {(kind.group, kind.plural): kind for kind in (STACK, POD, SERVICE, NODE, NETWORK_POLICY, SECRET, LEASE, EVENT)}
LATE = -1.0  # priority: after what a test scripts, before kmock's own fallbacks


def serve(handler: kmock.KubernetesScaffold, api: FakeApi) -> None:
    """Let `handler` answer with what `api` holds."""
    for kind in KINDS.values():
        handler.resources[f"{kind.group}/{kind.version}/{kind.plural}".lstrip("/")] = kmock.ResourceInfo(
            kind=kind.kind,
            singular=kind.singular,
            namespaced=kind.namespaced,
            verbs={"get", "list", "watch", "create", "update", "patch", "delete"},
        )

    async def answer(request: kmock.Request) -> kmock.Payload:
        try:
            return await _answer(api, request)
        except Answer as refusal:
            return Response(status=refusal.code, payload=refusal.status)

    handler[lambda request: _kind_of(request) is not None] ** LATE << answer


def write_kubeconfig(path: Path, url: str) -> Path:
    """As kubectl would have it, with no user: kmock asks for none."""
    context = {"name": "kmock", "context": {"cluster": "kmock", "user": "kmock"}}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kmock", "cluster": {"server": url.rstrip("/")}}],
        "users": [{"name": "kmock", "user": {}}],
        "contexts": [context],
        "current-context": "kmock",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _kind_of(request: kmock.Request) -> Kind | None:
    found = request.resource
    return KINDS.get((str(found.group), str(found.plural))) if found and request.action else None


async def _answer(api: FakeApi, request: kmock.Request) -> kmock.Payload:
    kind = _kind_of(request)
    assert kind
    query, body, name = request.params, json.loads(request.body or b"null"), request.name or ""
    match request.method.value, request.subresource:
        case "GET", None if query.get("watch") == "true":
            version = int(query.get("resourceVersion") or 0)
            api.check_watch(kind, version)
            return Response(status=200, payload=_events(api, kind, version))
        case "GET", None if name:
            made = api.get(kind, name)
        case "GET", None:
            items, listed = api.list_all(kind, query.get("labelSelector", ""))
            made = {"kind": f"{kind.kind}List", "metadata": {"resourceVersion": listed}, "items": items}
        case "POST", None:
            body["metadata"].setdefault("namespace", request.namespace)
            return Response(status=201, payload=api.create(kind, body))
        case "PUT", None:
            made = api.update(kind, body)
        case "PATCH", None:
            made = api.patch(kind, name, body["metadata"]["uid"], body)
        case "PATCH", "status":
            made = api.patch_status(kind, name, body)
        case "DELETE", None:
            wanted = (body or {}).get("preconditions", {})
            api.delete(kind, name, wanted.get("uid", ""), wanted.get("resourceVersion", ""))
            made = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        case _:
            raise Answer(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return Response(status=200, payload=made)


async def _events(api: FakeApi, kind: Kind, version: int) -> AsyncIterator[kmock.Payload]:
    yield b""  # sends the headers
    async for event in api.watch(kind, version):
        yield {"type": event.change, "object": event.obj}
