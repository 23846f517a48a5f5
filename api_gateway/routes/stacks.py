"""The Stack API: create, look at, delete; a stack_id is the resource's UID."""

from collections.abc import Iterable, Iterator

from aiohttp import web
from pydantic import TypeAdapter

from api_gateway import problems
from api_gateway.audit import MADE
from api_gateway.keys import SETTINGS, STACKS
from api_gateway.limits import LIMITS
from api_gateway.principal import PRINCIPAL
from api_gateway.renewal import renew as renewed
from api_gateway.routing import Operation, json_response
from api_gateway.store import Store
from api_gateway.wire import stacks as wire
from api_gateway.wire.body import read, read_optional
from slipway.api.meta import Object
from slipway.api.stack import ENDED_POD, Identifier, Stack
from slipway.builders.stack_record import StackRecord, record
from slipway.errors import AlreadyExists, ApiError, InvalidInput

OPERATOR_SECONDS = 10.0
"""What the operator may take beside the scheduling timeout before we say that it does not answer."""

USER_ID = TypeAdapter[int](Identifier)
TAG = "Stacks"
NOT_FOUND = {404: "no such stack"}


async def create(request: web.Request) -> web.Response:
    """201 once the pod has a node and its node port; else the reason, and nothing is left of it."""
    body = await read(request, wire.CreateStack)
    store = request.app[STACKS]
    resource = body.resource(body.pod(request.app[SETTINGS].pod_limits), request[PRINCIPAL].tenant)
    request.app[LIMITS].start(resource["spec"])
    try:
        made = await store.create(resource)
    except AlreadyExists:
        request.app[LIMITS].not_started(resource["spec"])
        raise problems.Problem(409, f"user {body.user_id} already has a stack for problem {body.problem_id}") from None
    request[MADE] = made["metadata"]["uid"]
    settled = await _settled(request, made)
    return web.Response(body=_view(request, settled), status=201, content_type="application/json")


async def _settled(request: web.Request, made: Object) -> Object:
    """The Stack when it is placed. One that is refused, or not judged in time, is removed."""
    store = request.app[STACKS]
    seconds = request.app[SETTINGS].stack_scheduling_timeout + OPERATOR_SECONDS
    try:
        seen = await store.wait_for(made["metadata"]["uid"], _is_settled, seconds)
    except TimeoutError:
        await _undo(store, made)
        raise problems.Problem(503, f"the operator did not place the stack within {seconds:g} s") from None
    if seen is None:
        raise problems.Problem(503, "the stack was deleted while it was being made")
    stalled = Stack.model_validate(seen).status.stalled
    if stalled and stalled.reason not in ENDED_POD:  # a pod that has run and ended was placed all the same
        await _undo(store, made)
        raise problems.refused(stalled.reason, stalled.message)
    return seen


async def _undo(store: Store, made: Object) -> None:
    """Delete it, now or as soon as the API server lets us: the client is told the reason either way."""
    try:
        await store.delete(made)
    except ApiError:
        store.remove(made)


def _is_settled(resource: Object | None) -> bool:
    if resource is None:
        return True
    status = Stack.model_validate(resource).status
    return bool(status.stalled or (status.node_name and status.node_port))


async def list_all(request: web.Request) -> web.Response:
    return _listing(request, _seen(request))


async def list_of_user(request: web.Request) -> web.Response:
    text = request.match_info["user_id"]
    try:
        user_id = USER_ID.validate_python(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError:  # pydantic's is one
        raise InvalidInput("user_id", "must be an integer from 1 to 9007199254740991") from None
    return _listing(request, [s for s in _seen(request) if s["spec"]["userId"] == user_id])


async def get(request: web.Request) -> web.Response:
    return web.Response(body=_view(request, _found(request)), content_type="application/json")


async def status(request: web.Request) -> web.Response:
    body = request.app[STACKS].rendered(_found(request), _render_status)
    return web.Response(body=body, content_type="application/json")


async def renew(request: web.Request) -> web.Response:
    """200 once the operator has taken up the new end."""
    body = await read_optional(request, wire.RenewStack)
    stack = await renewed(request.app[STACKS], _found(request), body.ttl, request.app[SETTINGS].stack_life)
    return web.Response(body=_view(request, stack), content_type="application/json")


async def delete(request: web.Request) -> web.Response:
    resource = _found(request)
    request.app[LIMITS].start(resource["spec"])
    await request.app[STACKS].delete(resource)
    return json_response(wire.Deleted(stack_id=resource["metadata"]["uid"]))


async def stats(request: web.Request) -> web.Response:
    return json_response(wire.stats(Stack.model_validate(resource) for resource in _seen(request)))


def _found(request: web.Request) -> Object:
    resource = request.app[STACKS].get(request.match_info["stack_id"])
    if resource is None or not request[PRINCIPAL].sees(_tenant(resource)):
        raise problems.Problem(404, "stack not found")
    return resource


def _seen(request: web.Request) -> Iterator[Object]:
    """The stacks of whoever asks; of another tenant nothing is told."""
    principal = request[PRINCIPAL]
    return (resource for resource in request.app[STACKS] if principal.sees(_tenant(resource)))


def _tenant(resource: Object) -> str:
    return str(resource["spec"].get("tenant", ""))


def _view(request: web.Request, resource: Object) -> bytes:
    """The stack's JSON. To write a pod as YAML takes long: it is done once for each version."""
    return request.app[STACKS].rendered(resource, _render)


def _render(resource: Object) -> bytes:
    return record(Stack.model_validate(resource)).model_dump_json().encode()


def _render_status(resource: Object) -> bytes:
    return wire.status_view(Stack.model_validate(resource)).model_dump_json().encode()


def _listing(request: web.Request, resources: Iterable[Object]) -> web.Response:
    stacks = b",".join(_view(request, resource) for resource in resources)
    return web.Response(body=b'{"stacks":[' + stacks + b"]}", content_type="application/json")


OPERATIONS = (
    Operation(
        "POST",
        "/stacks",
        create,
        "Create a stack, and wait until its pod has a node",
        TAG,
        body=wire.CreateStack,
        returns=StackRecord,
        permission="stack:create",
        status=201,
        errors={
            400: "invalid request body or pod spec, or beyond a LimitRange",
            409: "the user already has a stack for that problem",
            413: "the request body is too large",
            503: "user stack limit, cluster saturation, ResourceQuota, or no node port",
        },
    ),
    Operation("GET", "/stacks", list_all, "List all stacks", TAG, returns=wire.StackList, permission="stack:list"),
    Operation(
        "GET",
        "/stacks/{stack_id}",
        get,
        "Get a stack",
        TAG,
        returns=StackRecord,
        errors=NOT_FOUND,
        permission="stack:read",
    ),
    Operation(
        "GET",
        "/stacks/{stack_id}/status",
        status,
        "Get a stack's status",
        TAG,
        returns=wire.StackStatusView,
        permission="stack:read",
        errors=NOT_FOUND,
    ),
    Operation(
        "POST",
        "/stacks/{stack_id}/renew",
        renew,
        "Let a stack live on from now, as far as its longest life goes",
        TAG,
        body=wire.RenewStack,
        body_required=False,
        returns=StackRecord,
        permission="stack:renew",
        errors=NOT_FOUND
        | {
            400: "invalid request body, or a ttl beyond the longest life",
            409: "the stack has ended, or already lives as long as it may",
            503: "the cluster cannot be reached, or the operator does not answer",
        },
    ),
    Operation(
        "DELETE",
        "/stacks/{stack_id}",
        delete,
        "Delete a stack",
        TAG,
        returns=wire.Deleted,
        permission="stack:delete",
        errors=NOT_FOUND | {503: "the cluster cannot be reached"},
    ),
    Operation(
        "GET",
        "/users/{user_id}/stacks",
        list_of_user,
        "List a user's stacks",
        TAG,
        returns=wire.StackList,
        permission="stack:list",
        errors={400: "user_id is not a positive integer"},
    ),
    Operation("GET", "/stats", stats, "Totals over all stacks", TAG, returns=wire.Stats, permission="stack:list"),
)
