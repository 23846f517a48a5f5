"""Everything that can go wrong -> an HTTP answer: one table of codes, one shape of body for each API family."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from slipway import errors, log
from slipway.api.stack import Reason

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.InvalidInput, 400),
    (errors.NotFound, 404),
    (errors.AlreadyExists, 409),
    (errors.Conflict, 409),
    (errors.NotRenewable, 409),
    (errors.QuotaExceeded, 503),
    (errors.Unavailable, 503),
    (errors.Forbidden, 503),  # our own ServiceAccount's: the client can do nothing about it
    (errors.Rejected, 400),
)
"""The first class that fits decides."""

REFUSALS: dict[str, int] = {
    Reason.POD_SPEC_INVALID: 400,
    Reason.LIMIT_RANGE_EXCEEDED: 400,
    Reason.REJECTED: 400,
    Reason.ALREADY_EXISTS: 409,
}
"""Why the operator refused a resource; every other reason is a lack of room, 503."""


HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")
"""What an error's answer may carry beside its body."""


class Problem(web.HTTPException):
    """An answer that is an error. `message` is one line for the client."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        super().__init__(reason=HTTPStatus(status).phrase, headers=headers)
        self.message = message


def refused(reason: str, message: str) -> Problem:
    return Problem(REFUSALS.get(reason, 503), message)


class Detail(BaseModel):
    """Error of the Spin build app, and of paths that belong to no API."""

    detail: str


class StackError(BaseModel):
    """Error of the Stack API."""

    error: str


class DockerError(BaseModel):
    """Error of the Docker Web API."""

    success: bool = False
    error: str


class ImageFactoryError(BaseModel):
    """Error of the Image Factory."""

    error: str
    code: str
    timestamp: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    trace_id: str = Field(default_factory=lambda: log.request_id.get() or secrets.token_hex(16))
    details: dict[str, Any] = {}


_CODES = {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    500: "INTERNAL_SERVER_ERROR",
    503: "INTERNAL_SERVER_ERROR",
}


def _image_factory(status: int, message: str) -> BaseModel:
    return ImageFactoryError(error=message, code=_CODES.get(status, "INVALID_REQUEST"))


@dataclass(frozen=True, slots=True)
class Family:
    """One documented API: where its paths begin, and what its errors look like."""

    prefixes: tuple[str, ...]
    model: type[BaseModel]
    body: Callable[[int, str], BaseModel]


FAMILIES = (
    Family(("/stacks", "/users", "/stats", "/healthz"), StackError, lambda _, message: StackError(error=message)),
    Family(("/api/v1/builds", "/api/v1/auth"), ImageFactoryError, _image_factory),
    Family(("/api/v1",), Detail, lambda _, message: Detail(detail=message)),
    Family(
        tuple(f"/api/{part}" for part in ("image", "exec", "storage", "dataset", "model", "app", "system")),
        DockerError,
        lambda _, message: DockerError(error=message),
    ),
    Family(("",), Detail, lambda _, message: Detail(detail=message)),
)


def family_of(path: str) -> Family:
    """The API that a path belongs to; the last one takes what no other does."""
    return next(f for f in FAMILIES if any(path == p or path.startswith(f"{p}/") or not p for p in f.prefixes))


def to_problem(error: Exception) -> Problem | None:
    """The answer to an error that was raised on purpose; None for any other."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPException):
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return Problem(error.status_code, _MESSAGES.get(error.status_code, error.reason), allow)
    status = next((status for kind, status in STATUS if isinstance(error, kind)), None)
    return Problem(status, str(error)) if status else None


_MESSAGES = {
    404: "no such path",
    408: "the request body did not come in time",
    405: "this path does not take that method",
    413: "the request body is too large",
}


def response(path: str, problem: Problem) -> web.Response:
    text = family_of(path).body(problem.status_code, problem.message).model_dump_json()
    headers = {name: problem.headers[name] for name in HEADERS if name in problem.headers}
    return web.Response(status=problem.status_code, text=text, content_type="application/json", headers=headers)
