"""DynamoDB in this process: moto behind a door that counts, holds back, answers for it, and can be shut."""

import io
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from slipway.mirror.item import Item

REGION = "eu-west-1"
KEYS = ("pk", "sk")
NOBODY = "http://127.0.0.1:9"  # the discard port: who connects is refused at once

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body, as DynamoDB writes them."""

_names = count(1)


def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever could lead to AWS: credentials, profiles, the metadata service, every endpoint."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)
    given = {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": NOBODY,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@dataclass
class Call:
    """One call that reached the door."""

    operation: str
    body: dict[str, Any]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Of a BatchWriteItem: its puts and deletes."""
        return [change for some in self.body.get("RequestItems", {}).values() for change in some]


@dataclass
class Door:
    """What stands before moto. Tests set its fields; it remembers the calls."""

    calls: list[Call] = field(default_factory=list)
    answer: Callable[[Call], Answer | None] = lambda _: None
    """An answer in moto's place, or None."""
    room: int | None = None
    """Changes of each BatchWriteItem that are done; the others are answered as unprocessed."""

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    @property
    def written(self) -> list[str]:
        """`put UID` and `delete UID`, in their order."""
        changes = [change for call in self.of("BatchWriteItem") for change in call.changes]
        return [_told(change) for change in changes]

    def pass_on(self, moto: Callable[..., Iterable[bytes]], environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """A WSGI application around moto's."""
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        call = Call(environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2], json.loads(raw or b"{}"))
        self.calls.append(call)
        given = self.answer(call)
        if given:
            return _respond(start, *given)
        held = self._hold_back(call)
        if held is not None:
            raw = json.dumps(call.body | {"RequestItems": held[0]}).encode()
            environ["CONTENT_LENGTH"] = str(len(raw))
            start_moto, start = start, lambda *_: None
        environ["wsgi.input"] = io.BytesIO(raw)
        answer = moto(environ, start)
        if held is not None:
            list(answer)
            return _respond(start_moto, 200, {"UnprocessedItems": held[1]})
        return answer

    def _hold_back(self, call: Call) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if self.room is None or call.operation != "BatchWriteItem":
            return None
        asked = call.body["RequestItems"]
        left = {name: some[self.room :] for name, some in asked.items() if some[self.room :]}
        return {name: some[: self.room] for name, some in asked.items()}, left


class Dynamo:
    """moto's server on a port of its own, with tables that outlive its being stopped."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.door = Door()
        self._server: ThreadedMotoServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        inner: Any = self._server._server
        moto = inner.app
        inner.app = lambda environ, start: self.door.pass_on(moto, environ, start)

    def stop(self) -> None:
        """From now on connections are refused."""
        if self._server:
            self._server.stop()
            inner: Any = self._server._server
            inner.server_close()
            self._server = None

    def new_table(self, keys: tuple[str, ...] = KEYS) -> "DynamoTable":
        """A table of its own; keys: names of the partition key and the sort key."""
        table = DynamoTable(self, f"stacks-{next(_names)}")
        kinds = zip(keys, ("HASH", "RANGE"), strict=False)
        table.client.create_table(
            TableName=table.name,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in kinds],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
        self.door.calls.clear()
        return table


class DynamoTable:
    """A table as someone sees it who looks into it."""

    def __init__(self, dynamo: Dynamo, name: str) -> None:
        self.dynamo = dynamo
        self.name = name
        keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "not-a-secret"}
        self.client = boto3.client("dynamodb", region_name=REGION, endpoint_url=dynamo.url, **keys)

    @property
    def door(self) -> Door:
        return self.dynamo.door

    def items(self) -> list[Item]:
        """All of it, whosever it is; not counted as a call."""
        calls = list(self.door.calls)
        pages = self.client.get_paginator("scan").paginate(TableName=self.name)
        found: list[Item] = [item for page in pages for item in page["Items"]]
        self.door.calls[:] = calls
        return found

    def by_uid(self) -> dict[str, Item]:
        return {item["pk"]["S"].removeprefix("STACK#"): item for item in self.items()}

    def put(self, *items: Item) -> None:
        for item in items:
            self.client.put_item(TableName=self.name, Item=item)
        self.door.calls.clear()

    def close(self) -> None:
        self.client.close()


def _told(change: dict[str, Any]) -> str:
    if "DeleteRequest" in change:
        return "delete " + change["DeleteRequest"]["Key"]["pk"]["S"].removeprefix("STACK#")
    return "put " + change["PutRequest"]["Item"]["pk"]["S"].removeprefix("STACK#")


def _respond(start: Any, status: int, body: dict[str, Any]) -> Iterable[bytes]:
    start(f"{status} told", [("Content-Type", "application/x-amz-json-1.0")])
    return [json.dumps(body).encode()]
