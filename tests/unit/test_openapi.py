"""The OpenAPI document: whole, consistent, and of every route."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api_gateway.openapi import document
from api_gateway.problems import family_of
from api_gateway.routes import OPERATIONS
from api_gateway.routing import MUTATIONS, Operation

DOCUMENT = document(OPERATIONS)
operations = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")


def described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_it_is_json_and_says_what_it_is() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"]


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        target: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in target, reference
            target = target[step]


def test_no_schema_is_left_over() -> None:
    used = {reference.rsplit("/", 1)[1] for reference in references(DOCUMENT)}
    assert used == set(DOCUMENT["components"]["schemas"])


def test_operation_ids_are_unique() -> None:
    ids = [described(operation)["operationId"] for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_no_route_is_told_twice() -> None:
    routes = [(operation.method, operation.path) for operation in OPERATIONS]
    assert len(set(routes)) == len(routes)


@operations
def test_parameters_of_the_path_are_declared(operation: Operation) -> None:
    declared = [p["name"] for p in described(operation).get("parameters", []) if p["in"] == "path"]
    assert declared == re.findall(r"{(\w+)}", operation.path)
    assert all(p["required"] for p in described(operation).get("parameters", []))


@operations
def test_answers_and_bodies_are_described(operation: Operation) -> None:
    told = described(operation)
    assert told["summary"]
    answer = told["responses"][str(operation.status)]["content"]
    assert list(answer) == [operation.media]
    if operation.returns:
        assert answer["application/json"]["schema"]["$ref"].endswith(f"/{operation.returns.__name__}")
    if operation.body:
        body = told["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert body.endswith(f"/{operation.body.__name__}")
        assert told["requestBody"]["required"] is operation.body_required
    assert ("429" in told["responses"]) is (operation.method in MUTATIONS)
    for code in operation.errors:
        error = told["responses"][str(code)]["content"]["application/json"]["schema"]["$ref"]
        assert error.endswith(f"/{family_of(operation.path).model.__name__}")


@operations
def test_a_key_is_asked_for_where_it_is_needed(operation: Operation) -> None:
    schemes = {name for asked in described(operation).get("security", []) for name in asked}
    assert schemes == (set() if operation.access == "open" else {"apiKey", "bearer"})
    assert schemes <= DOCUMENT["components"]["securitySchemes"].keys()


def test_the_documented_routes() -> None:
    assert {(o.method, o.path, o.status) for o in OPERATIONS} >= {
        ("GET", "/healthz", 200),
        ("POST", "/stacks", 201),
        ("GET", "/stacks", 200),
        ("GET", "/stacks/{stack_id}", 200),
        ("GET", "/stacks/{stack_id}/status", 200),
        ("DELETE", "/stacks/{stack_id}", 200),
        ("GET", "/users/{user_id}/stacks", 200),
        ("GET", "/stats", 200),
        ("POST", "/stacks/{stack_id}/renew", 200),
    }


def test_a_renewal_needs_no_body() -> None:
    assert DOCUMENT["paths"]["/stacks/{stack_id}/renew"]["post"]["requestBody"]["required"] is False
    assert "required" not in DOCUMENT["components"]["schemas"]["RenewStack"]


def test_required_fields_are_told() -> None:
    body = DOCUMENT["components"]["schemas"]["CreateStack"]
    assert set(body["required"]) == {"user_id", "problem_id", "target_port", "pod_spec"}
    assert body["additionalProperties"] is False
    assert body["properties"]["user_id"] | {"title": "", "description": ""} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 2**53 - 1,
        "title": "",
        "description": "",
    }
