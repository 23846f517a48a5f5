"""DynamoDB in this process: moto behind a door that counts, holds back, answers for it, and can be shut."""

import io
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from slipway.mirror.item import PREFIX, Item, uid_of

REGION = "eu-west-1"
KEYS = ("pk", "sk")
ONLOOKER = "onlooker"
"""In the user agent of a test's own calls, which are not counted."""

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body, as DynamoDB writes them."""

_names = count(1)


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
        if ONLOOKER in environ.get("HTTP_USER_AGENT", ""):
            return moto(environ, start)
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
        self.port = 0
        self.door = Door()
        self._server: ThreadedMotoServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
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

    def reset(self) -> None:
        """Open, silent, and with no calls counted, whatever the test before left."""
        self.door = Door()
        if self._server is None:
            self.start()

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
        return table


class DynamoTable:
    """A table as someone sees it who looks into it."""

    def __init__(self, dynamo: Dynamo, name: str) -> None:
        self.dynamo = dynamo
        self.name = name
        onlooker = Config(user_agent_extra=ONLOOKER, retries={"total_max_attempts": 1})
        self.client = boto3.client("dynamodb", region_name=REGION, endpoint_url=dynamo.url, config=onlooker)

    @property
    def door(self) -> Door:
        return self.dynamo.door

    def items(self) -> list[Item]:
        """All of it, whosever it is."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.name)
        found: list[Item] = [item for page in pages for item in page["Items"]]
        return found

    def by_uid(self) -> dict[str, Item]:
        return {uid_of(item): item for item in self.items()}

    def put(self, *items: Item) -> None:
        for item in items:
            self.client.put_item(TableName=self.name, Item=item)

    def close(self) -> None:
        self.client.close()


def _told(change: dict[str, Any]) -> str:
    put, deleted = change.get("PutRequest"), change.get("DeleteRequest")
    key = put["Item"] if put else deleted["Key"] if deleted else {}
    return ("put " if put else "delete ") + str(key["pk"]["S"]).removeprefix(PREFIX)


def _respond(start: Any, status: int, body: dict[str, Any]) -> Iterable[bytes]:
    start(f"{status} told", [("Content-Type", "application/x-amz-json-1.0")])
    return [json.dumps(body).encode()]
