"""Request bodies: strict JSON into a model, or an error that names the field."""

import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from slipway.errors import InvalidInput

M = TypeVar("M", bound=BaseModel)


class Request(BaseModel):
    """Base of request bodies: no unknown fields, no guessing of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


async def read(request: web.Request, model: type[M]) -> M:
    """The body as `model`. Raises InvalidInput, and HTTPRequestEntityTooLarge beyond the app's bound."""
    if request.content_type != "application/json":
        raise InvalidInput("Content-Type", "must be application/json")
    try:
        raw = await request.read()
    except web.RequestPayloadError as error:
        raise InvalidInput("body", "cannot be decoded as its Content-Encoding says") from error
    try:
        data = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("body", f"must be JSON: {error}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(_path(first["loc"]), _expected(first["type"], first["msg"])) from error


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
        case "missing":
            return "field required"
        case "extra_forbidden":
            return "unknown field"
    return message[0].lower() + message[1:]
