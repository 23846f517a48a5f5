"""A route, told once: aiohttp serves it and the OpenAPI document describes it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


Access = Literal["key", "open", "local"]

MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    returns: model of the JSON answer; None: `media` is sent as it is. errors: status -> when.
    access: who needs no credentials where these are asked for: nobody (`key`), everyone (`open`), or this machine
    (`local`). permission: what they must allow; "": nothing in particular.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    returns: type[BaseModel] | None = None
    status: int = 200
    media: str = "application/json"
    body: type[BaseModel] | None = None
    body_required: bool = True
    errors: dict[int, str] = field(default_factory=dict)
    access: Access = "key"
    permission: str = ""


def pattern(request: web.Request) -> str | None:
    """The path of the route that a request has reached, with its parameters' names; None: it has reached none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else None


def is_mutation(request: web.Request) -> bool:
    return request.method in MUTATIONS and pattern(request) is not None


def json_response(model: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, text=model.model_dump_json(), content_type="application/json")
