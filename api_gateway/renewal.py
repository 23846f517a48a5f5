"""A Stack's new end: written, and taken up by the operator."""

from collections.abc import Callable
from datetime import UTC, datetime

from api_gateway.problems import Problem
from api_gateway.store import Store
from slipway.api.meta import Object
from slipway.api.stack import Stack
from slipway.errors import Conflict
from slipway.rules.stack import Life, renewed_ttl

SECONDS = 10.0
"""How long the operator may take, and the watch to bring what someone else has written."""
TRIES = 5


async def renew(store: Store, resource: Object, ttl: str, life: Life) -> Object:
    """The Stack when its status speaks of its new end. ttl: "" for the default.

    Raises NotRenewable, InvalidInput, ApiError or the Problem that it is gone or not taken up.
    """
    written = await _written(store, resource, ttl, life)
    generation = written["metadata"]["generation"]

    def taken_up(seen: Object | None) -> bool:
        return seen is None or Stack.model_validate(seen).status.observed_generation >= generation

    late = f"the new end is written, but the operator has not taken it up within {SECONDS:g} s: look again later"
    return await _seen(store, written, taken_up, late)


async def _written(store: Store, resource: Object, ttl: str, life: Life) -> Object:
    """The Stack with its new `spec.ttl`, counted from the very version that it is written to."""
    for _ in range(TRIES):
        stack = Stack.model_validate(resource)
        new = renewed_ttl(stack, ttl or None, datetime.now(UTC), life)
        if new is None:
            return resource
        try:
            return await store.patch(resource, {"spec": {"ttl": new}})
        except Conflict:
            resource = await _newer(store, resource)
    raise Problem(503, "others change the stack all the time: nothing was written; try again")


async def _newer(store: Store, resource: Object) -> Object:
    """The version that someone else has made of it."""
    version = resource["metadata"]["resourceVersion"]
    late = f"the stack was changed by someone else, and that was not seen here within {SECONDS:g} s: try again"
    return await _seen(
        store, resource, lambda seen: seen is None or seen["metadata"]["resourceVersion"] != version, late
    )


async def _seen(store: Store, resource: Object, done: Callable[[Object | None], bool], late: str) -> Object:
    """The Stack once `done` says so; `late` is told if it does not in time."""
    try:
        seen = await store.wait_for(resource["metadata"]["uid"], done, SECONDS)
    except TimeoutError:
        raise Problem(503, late) from None
    if seen is None:
        raise Problem(404, "stack not found")
    return seen
