"""A Stack as an item of the table. Pure."""

import hashlib
import json
from typing import Any

from slipway.api.meta import Object
from slipway.api.stack import Stack
from slipway.builders.stack_record import record

PREFIX = "STACK#"
"""What the partition key of each of our items begins with."""

POD_SPEC_BYTES = 300 * 1024
"""The longest pod_spec that goes into an item: DynamoDB takes 400 KB with everything, and a Stack may have 1.5 MB."""

Item = dict[str, dict[str, Any]]
"""Attribute to typed value, as DynamoDB writes them: {"S": text}, or {"N": number as text}."""


def key(uid: str, namespace: str) -> Item:
    return {"pk": {"S": f"{PREFIX}{uid}"}, "sk": {"S": namespace}}


def uid_of(item: Item) -> str:
    return str(item["pk"]["S"]).removeprefix(PREFIX)


def build(resource: Object) -> Item:
    """The item of a Stack as the API server has it."""
    stack = Stack.model_validate(resource)
    shown = record(stack).model_dump(mode="json", exclude_none=True)
    if stack.spec.tenant:
        shown["tenant"] = stack.spec.tenant
    size = len(shown["pod_spec"].encode())
    if size > POD_SPEC_BYTES:
        del shown["pod_spec"]
        shown["pod_spec_too_large"] = size
    expires = stack.status.expires_at
    if expires and stack.spec.on_expiry == "Delete":  # one that is kept must not be taken by DynamoDB's own TTL
        shown["expires_at"] = int(expires.timestamp())
    return key(stack.metadata.uid, stack.metadata.namespace) | {name: _typed(value) for name, value in shown.items()}


def digest(item: Item) -> bytes:
    """The same for equal items, whatever the order of their attributes."""
    return hashlib.sha256(json.dumps(item, sort_keys=True, default=repr).encode()).digest()


def _typed(value: str | int) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}
