"""Errors -> HTTP: one table of codes, one shape for each API."""

import json
from typing import Any

import pytest
from aiohttp import web

from api_gateway.problems import Problem, family_of, refused, response, to_problem
from slipway import errors, log
from slipway.api.stack import Reason

FAMILIES = [
    ("/stacks", "error"),
    ("/stacks/x", "error"),
    ("/stacks/x/y/z", "error"),
    ("/users/1/stacks", "error"),
    ("/stats", "error"),
    ("/healthz", "error"),
    ("/stacksx", "detail"),
    ("/statsx", "detail"),
    ("/", "detail"),
    ("", "detail"),
    ("/nope", "detail"),
    ("/health", "detail"),
    ("/api", "detail"),
    ("/api/v1", "detail"),
    ("/api/v1/", "detail"),
    ("/api/v1/build", "detail"),
    ("/api/v1/buildsx", "detail"),
    ("/api/v1/tasks/x", "detail"),
    ("/api/v1/builds", "code"),
    ("/api/v1/builds/x/logs", "code"),
    ("/api/v1/auth", "code"),
    ("/api/v1/auth/login", "code"),
    ("/api/v1/authx", "detail"),
    ("/api/image", "success"),
    ("/api/image/list/0", "success"),
    ("/api/exec", "success"),
    ("/api/storage/x", "success"),
    ("/api/dataset/x", "success"),
    ("/api/model/item/x", "success"),
    ("/api/app/x", "success"),
    ("/api/system/info", "success"),
    ("/api/other", "detail"),
    ("/api/images", "detail"),
]

BODIES: dict[str, dict[str, Any]] = {
    "error": {"error": "why"},
    "detail": {"detail": "why"},
    "success": {"success": False, "error": "why"},
}


def body_of(path: str, status: int = 404) -> dict[str, Any]:
    answer = response(path, Problem(status, "why"))
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert answer.text
    body: dict[str, Any] = json.loads(answer.text)
    return body


@pytest.mark.parametrize(("path", "shape"), FAMILIES)
def test_families(path: str, shape: str) -> None:
    body = body_of(path)
    if shape == "code":
        assert body.keys() == {"error", "code", "timestamp", "trace_id", "details"}
        assert (body["error"], body["code"], body["details"]) == ("why", "NOT_FOUND", {})
    else:
        assert body == BODIES[shape]
    assert set(family_of(path).model.model_json_schema()["properties"]) == body.keys()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_REQUEST"),
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (409, "CONFLICT"),
        (413, "INVALID_REQUEST"),
        (415, "INVALID_REQUEST"),
        (429, "INVALID_REQUEST"),
        (500, "INTERNAL_SERVER_ERROR"),
        (503, "INTERNAL_SERVER_ERROR"),
    ],
)
def test_codes_of_the_image_factory(status: int, code: str) -> None:
    assert body_of("/api/v1/builds", status)["code"] == code


def test_the_trace_is_the_request() -> None:
    token = log.request_id.set("0" * 32)
    assert body_of("/api/v1/builds")["trace_id"] == "0" * 32
    log.request_id.reset(token)


def test_an_answer_keeps_no_header_but_those_for_clients() -> None:
    answer = response("/stacks", Problem(429, "why", {"Retry-After": "3", "X-Inner": "x"}))
    assert answer.headers["Retry-After"] == "3"
    assert "X-Inner" not in answer.headers


def test_each_trace_is_its_own() -> None:
    assert body_of("/api/v1/builds")["trace_id"] != body_of("/api/v1/builds")["trace_id"]


CODES: list[tuple[Exception, int | None]] = [
    (errors.InvalidInput("user_id", "must be an integer"), 400),
    (errors.Rejected("no"), 400),
    (errors.LimitRangeExceeded("no"), 400),
    (errors.NotFound("no"), 404),
    (errors.AlreadyExists("no"), 409),
    (errors.Conflict("no"), 409),
    (errors.NotRenewable("no"), 409),
    (errors.QuotaExceeded("no"), 503),
    (errors.Unavailable("no"), 503),
    (errors.Throttled("no"), 503),
    (errors.Forbidden("no"), 503),
    (Problem(418, "no"), 418),
    (web.HTTPNotFound(), 404),
    (web.HTTPMethodNotAllowed("PUT", ["GET"]), 405),
    (web.HTTPRequestEntityTooLarge(1, 2), 413),
    (ValueError("a bug"), None),
    (KeyError("a bug"), None),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda case: type(case).__name__)
def test_codes(error: Exception, code: int | None) -> None:
    problem = to_problem(error)
    assert (problem.status_code if problem else None) == code


def test_every_error_of_the_api_server_has_a_code() -> None:
    """Gone never leaves the watch."""

    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    for kind in below(errors.ApiError) - {errors.ApiError, errors.Gone}:
        assert to_problem(kind("no")), kind


def test_messages_are_for_people() -> None:
    problem = to_problem(errors.InvalidInput("user_id", "must be an integer"))
    assert problem
    assert problem.message == "user_id: must be an integer"
    not_allowed = to_problem(web.HTTPMethodNotAllowed("PUT", ["GET", "POST"]))
    assert not_allowed
    answer = response("/stacks", not_allowed)
    assert answer.headers["Allow"] == "GET,POST"
    assert answer.text == '{"error":"this path does not take that method"}'


@pytest.mark.parametrize("reason", list(Reason))
def test_refusals(reason: Reason) -> None:
    expected = {"PodSpecInvalid": 400, "LimitRangeExceeded": 400, "Rejected": 400, "AlreadyExists": 409}
    problem = refused(reason, "why")
    assert (problem.status_code, problem.message) == (expected.get(reason, 503), "why")
