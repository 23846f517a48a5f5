"""The OpenAPI 3.1 document, made from the operations."""

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api_gateway.problems import family_of
from api_gateway.routing import MUTATIONS, Operation

REFERENCE = "#/components/schemas/{model}"
TOO_MANY = {429: "too many requests of this client or user; Retry-After says when to come again"}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The login's, or an issuer's"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
}
WHO_MAY = {
    401: "no credentials, or bad ones",
    403: "a missing permission; without credentials, a foreign Host or Origin",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Every route with its parameters, bodies, answers and errors."""
    operations = list(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Slipway",
            "version": version("slipway"),
            "description": "Builds and launches workloads on Kubernetes. "
            "Every stack is a custom resource, which kubectl sees as well.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": SECURITY,
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    error = _content(family_of(operation.path).model)
    errors = operation.errors if operation.access == "open" else WHO_MAY | operation.errors
    ok: dict[str, Any] = {"description": "OK" if operation.status == 200 else "Created"}
    ok["content"] = _content(operation.returns) if operation.returns else {operation.media: {}}
    if operation.method in MUTATIONS:
        errors = TOO_MANY | errors
    out: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "operationId": operation.handler.__module__.rsplit(".", 1)[-1] + "_" + operation.handler.__name__,
        "responses": {str(operation.status): ok}
        | {str(code): {"description": when, "content": error} for code, when in sorted(errors.items())},
    }
    if operation.permission:
        out["description"] = f"Needs the permission `{operation.permission}`."
    if names := re.findall(r"{(\w+)}", operation.path):
        out["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if operation.body:
        out["requestBody"] = {"required": operation.body_required, "content": _content(operation.body)}
    if operation.access != "open":
        out["security"] = [*({name: []} for name in SECURITY), {}]  # none where the gateway is anonymous
    return out


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    answers = {o.returns for o in operations if o.returns} | {family_of(o.path).model for o in operations}
    bodies = {o.body for o in operations if o.body}
    models = [(m, "serialization") for m in answers] + [(m, "validation") for m in bodies]
    models.sort(key=lambda pair: pair[0].__name__)
    _, schema = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
    definitions: dict[str, Any] = schema["$defs"]
    return definitions
