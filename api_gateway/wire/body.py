"""Request bodies: strict JSON into a model, or an error that names the field."""

import asyncio
import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from slipway.errors import InvalidInput

BODY_SECONDS = 30.0
"""How long a client may take to send a body."""

M = TypeVar("M", bound=BaseModel)


class Request(BaseModel):
    """Base of request bodies: no unknown fields, no guessing of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


async def read(request: web.Request, model: type[M]) -> M:
    """The body as `model`. Raises InvalidInput, and HTTPRequestEntityTooLarge beyond the app's bound."""
    if request.content_type != "application/json":
        raise InvalidInput("Content-Type", "must be application/json")
    text = await _text(request)
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_int)
    except RecursionError as error:
        raise InvalidInput("body", "is nested too deeply") from error
    except ValueError as error:
        raise InvalidInput("body", f"must be JSON: {error}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(_path(first["loc"]), _expected(first["type"], first["msg"])) from error


async def read_optional(request: web.Request, model: type[M]) -> M:
    """The same; no body at all, whatever its type, is a model of defaults."""
    return await read(request, model) if await _text(request) else model.model_validate({})


async def _text(request: web.Request) -> str:
    """The whole body, if it comes in time and is not too long."""
    if (request.content_length or 0) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return (await request.read()).decode()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except UnicodeDecodeError as error:
        raise InvalidInput("body", "must be UTF-8") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidInput("body", "ended early, or is not encoded as its Content-Encoding says") from error


def _int(digits: str) -> int:
    if len(digits) > 4000:  # Python refuses to read more, in words of its own
        raise ValueError("a number is too long")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"{_shown(key)} is given twice")
        out[key] = value
    return out


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _path(loc: tuple[int | str, ...]) -> str:
    """The field to blame."""
    return ".".join(_shown(str(part)) for part in loc) or "body"


def _shown(key: str) -> str:
    """A client's own key, short and in a form that any answer can hold."""
    return ascii(key)[1:-1][:64]


def _expected(type_: str, message: str) -> str:
    match type_:
        case "model_type":
            return "must be a JSON object"
        case "missing":
            return "field required"
        case "extra_forbidden":
            return "unknown field"
        case "value_error":
            return message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]
