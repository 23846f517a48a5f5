"""The Stack API: create, look at, delete; a stack_id is the resource's UID."""

from collections.abc import Iterable

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from api_gateway import problems
from api_gateway.keys import SETTINGS, STACKS
from api_gateway.routing import Operation, json_response
from api_gateway.wire import stacks as wire
from api_gateway.wire.body import read
from slipway.api.meta import Object
from slipway.api.stack import ENDED_POD, Identifier, Stack
from slipway.errors import AlreadyExists, InvalidInput
from slipway.rules.pod_spec import PodLimits

OPERATOR_SECONDS = 10.0
"""What the operator may take beside the scheduling timeout before we say that it does not answer."""

USER_ID = TypeAdapter[int](Identifier)
TAG = "Stacks"
NOT_FOUND = {404: "no such stack"}


async def create(request: web.Request) -> web.Response:
    """201 once the pod has a node and its node port; else the reason, and nothing is left of it."""
    body = await read(request, wire.CreateStack)
    store = request.app[STACKS]
    resource = body.resource(body.pod(_limits(request)))
    try:
        made = await store.create(resource)
    except AlreadyExists:
        raise problems.Problem(409, f"user {body.user_id} already has a stack for problem {body.problem_id}") from None
    settled = await _settled(request, made)
    return json_response(wire.view(settled, _limits(request)), status=201)


async def _settled(request: web.Request, made: Object) -> Stack:
    """The Stack when it is placed. One that is refused, or not judged in time, is removed."""
    store = request.app[STACKS]
    seconds = request.app[SETTINGS].stack_scheduling_timeout + OPERATOR_SECONDS
    try:
        seen = await store.wait_for(made["metadata"]["uid"], _is_settled, seconds)
    except TimeoutError:
        await store.delete(made)
        raise problems.Problem(503, f"the operator did not place the stack within {seconds:g} s") from None
    if seen is None:
        raise problems.Problem(503, "the stack was deleted while it was being made")
    stack = Stack.model_validate(seen)
    stalled = stack.status.stalled
    if stalled and stalled.reason not in ENDED_POD:  # a pod that has run and ended was placed all the same
        await store.delete(made)
        raise problems.refused(stalled.reason, stalled.message)
    return stack


def _is_settled(resource: Object | None) -> bool:
    if resource is None:
        return True
    status = Stack.model_validate(resource).status
    return bool(status.stalled or (status.node_name and status.node_port))


async def list_all(request: web.Request) -> web.Response:
    return _listing(request, _stacks(request))


async def list_of_user(request: web.Request) -> web.Response:
    text = request.match_info["user_id"]
    try:
        user_id = USER_ID.validate_strings(text)
    except ValidationError:
        raise InvalidInput("user_id", "must be an integer from 1 to 9007199254740991") from None
    return _listing(request, (s for s in _stacks(request) if s.spec.user_id == user_id))


async def get(request: web.Request) -> web.Response:
    return json_response(wire.view(_stack(request), _limits(request)))


async def status(request: web.Request) -> web.Response:
    return json_response(wire.status_view(_stack(request)))


async def delete(request: web.Request) -> web.Response:
    stack_id = _stack(request).metadata.uid
    resource = request.app[STACKS].get(stack_id)
    if resource is not None:
        await request.app[STACKS].delete(resource)
    return json_response(wire.Deleted(stack_id=stack_id))


async def stats(request: web.Request) -> web.Response:
    return json_response(wire.stats(_stacks(request)))


def _stack(request: web.Request) -> Stack:
    resource = request.app[STACKS].get(request.match_info["stack_id"])
    if resource is None:
        raise problems.Problem(404, "stack not found")
    return Stack.model_validate(resource)


def _stacks(request: web.Request) -> list[Stack]:
    return [Stack.model_validate(resource) for resource in request.app[STACKS]]


def _listing(request: web.Request, stacks: Iterable[Stack]) -> web.Response:
    return json_response(wire.StackList(stacks=[wire.view(s, _limits(request)) for s in stacks]))


def _limits(request: web.Request) -> PodLimits:
    settings = request.app[SETTINGS]
    return PodLimits(settings.stack_max_cpu, settings.stack_max_memory)


OPERATIONS = (
    Operation(
        "POST",
        "/stacks",
        create,
        "Create a stack, and wait until its pod has a node",
        TAG,
        body=wire.CreateStack,
        returns=wire.StackView,
        status=201,
        errors={
            400: "invalid request body or pod spec, or beyond a LimitRange",
            409: "the user already has a stack for that problem",
            413: "the request body is too large",
            503: "user stack limit, cluster saturation, ResourceQuota, or no node port",
        },
    ),
    Operation("GET", "/stacks", list_all, "List all stacks", TAG, returns=wire.StackList),
    Operation("GET", "/stacks/{stack_id}", get, "Get a stack", TAG, returns=wire.StackView, errors=NOT_FOUND),
    Operation(
        "GET",
        "/stacks/{stack_id}/status",
        status,
        "Get a stack's status",
        TAG,
        returns=wire.StackStatusView,
        errors=NOT_FOUND,
    ),
    Operation("DELETE", "/stacks/{stack_id}", delete, "Delete a stack", TAG, returns=wire.Deleted, errors=NOT_FOUND),
    Operation(
        "GET",
        "/users/{user_id}/stacks",
        list_of_user,
        "List a user's stacks",
        TAG,
        returns=wire.StackList,
        errors={400: "user_id is not a positive integer"},
    ),
    Operation("GET", "/stats", stats, "Totals over all stacks", TAG, returns=wire.Stats),
)
