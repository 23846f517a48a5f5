"""The mirror against moto's DynamoDB: what it writes, and how it catches up."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config

from slipway.api.meta import Object
from slipway.errors import InvalidInput
from slipway.mirror import item, mirror
from slipway.mirror import table as mirror_table
from slipway.mirror.item import Item
from slipway.mirror.mirror import Mirror
from slipway.settings import Settings
from tests.support.aws import NOBODY
from tests.support.dynamodb import REGION, Answer, Call, Dynamo, DynamoTable
from tests.support.gateway import placed
from tests.support.objects import NAMESPACE, a_stack, some_settings, stored
from tests.support.until import until as until_within

FOREIGN: list[Item] = [
    {"pk": {"S": "USER#uid-9-9"}, "sk": {"S": NAMESPACE}, "name": {"S": "other pk"}},
    {"pk": {"S": "STACK"}, "sk": {"S": NAMESPACE}},
    {"pk": {"S": "STACK#uid-9-9"}, "sk": {"S": "elsewhere"}},
    {"pk": {"S": "STACK#uid-9-8"}, "sk": {"S": f"{NAMESPACE}-2"}},
]
THROTTLED: Answer = (
    400,
    {"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "message": "too much"},
)


class World:
    """The Stacks that there are, and a mirror of them."""

    def __init__(self) -> None:
        self.stacks: dict[str, Object] = {}
        self.leads = True
        self.version = 0

    def add(self, problem: int, user: int = 1, **spec: Any) -> str:
        """A Stack whose pod runs; returns its UID."""
        return self.put(placed(a_stack(user, problem, **spec)))

    def put(self, stack: Object) -> str:
        self.version += 1
        uid = str(stack["metadata"]["uid"])
        self.stacks[uid] = stored(stack, version=self.version)
        return uid

    def change(self, uid: str, **status: Any) -> None:
        stack = self.stacks[uid]
        self.put(stack | {"status": stack["status"] | status})

    def mirror(self, settings: Settings) -> Mirror:
        return Mirror(settings, self.stacks.values, lambda: self.leads)


async def until(look: Callable[[], Any]) -> None:
    """moto is slow where others work beside it."""
    await until_within(look, seconds=30)


Start = Callable[[], AbstractAsyncContextManager[Mirror]]


@pytest.fixture(scope="session")
def dynamo() -> Iterator[Dynamo]:
    served = Dynamo()
    yield served
    served.stop()


@pytest.fixture
def table(dynamo: Dynamo, monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoTable]:
    """A new table, and an environment that leads to it."""
    dynamo.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url)
    made = dynamo.new_table()
    yield made
    made.close()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns and tries as in production, only sooner."""
    monkeypatch.setattr(mirror, "TURN_SECONDS", 0.005)
    monkeypatch.setattr(mirror, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(mirror, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(mirror, "RESEND_DELAYS", (0.001, 0.002, 0.003))


@pytest.fixture
def settings(table: DynamoTable) -> Settings:
    return some_settings(ddb_stack_table=table.name, aws_region=REGION)


@pytest.fixture
def start(settings: Settings, world: World, soon: None) -> Start:
    @asynccontextmanager
    async def start() -> AsyncIterator[Mirror]:
        mirrored = world.mirror(settings)
        task = asyncio.create_task(mirrored.run())
        try:
            yield mirrored
            assert not task.done(), "it goes on, whatever comes"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return start


async def equal(mirrored: Mirror) -> None:
    """Until a whole turn has found or made the table equal; the one that is under way may not have seen all."""
    for _ in range(2):
        mirrored.last_success = None
        await until(lambda: mirrored.last_success is not None and mirrored.behind == 0)


async def test_a_stack_is_put_changed_and_removed(start: Start, world: World, table: DynamoTable) -> None:
    async with start() as mirrored:
        uid = world.add(2)
        await equal(mirrored)
        (seen,) = table.items()
        assert seen == item.build(world.stacks[uid])
        assert seen["pk"] == {"S": f"STACK#{uid}"}
        assert seen["sk"] == {"S": NAMESPACE}
        assert seen["status"] == {"S": "running"}
        world.change(uid, nodePort=30777)
        await equal(mirrored)
        assert table.by_uid()[uid]["node_port"] == {"N": "30777"}
        del world.stacks[uid]
        await equal(mirrored)
        assert table.items() == []


async def test_only_what_differs_is_written(start: Start, world: World, table: DynamoTable) -> None:
    async with start() as mirrored:
        one, two, three = world.add(1), world.add(2), world.add(3)
        await equal(mirrored)
        table.door.calls.clear()
        world.change(two, nodeName="node-2")
        await equal(mirrored)
        assert table.door.written == [f"put {two}"]
        del world.stacks[three]
        await equal(mirrored)
        assert table.door.written == [f"put {two}", f"delete {three}"]
        world.put(world.stacks[one])
        await equal(mirrored)
        assert len(table.door.calls) == 2, "a new version of the same content is nothing to write"
        assert table.door.of("Scan") == []


async def test_a_stack_that_is_being_deleted_is_gone(start: Start, world: World, table: DynamoTable) -> None:
    async with start() as mirrored:
        uid = world.add(1)
        await equal(mirrored)
        stack = world.stacks[uid]
        world.put(stack | {"metadata": stack["metadata"] | {"deletionTimestamp": "2026-01-01T13:00:00Z"}})
        await equal(mirrored)
        assert table.items() == []


async def test_at_start_the_table_is_compared(start: Start, world: World, table: DynamoTable) -> None:
    same, changed, missing = world.add(1), world.add(2), world.add(3)
    old = item.build(world.stacks[changed]) | {"node_port": {"N": "1"}}
    stale = item.build(stored(placed(a_stack(1, 4))))
    table.put(item.build(world.stacks[same]), old, stale, *FOREIGN)
    async with start() as mirrored:
        await equal(mirrored)
    assert sorted(table.door.written) == sorted(["delete uid-1-4", f"put {changed}", f"put {missing}"])
    ours = [item.build(stack) for stack in world.stacks.values()]
    left = table.items()
    assert all(some in left for some in [*ours, *FOREIGN])
    assert len(left) == len(ours) + len(FOREIGN)


async def test_a_restart_writes_nothing(start: Start, world: World, table: DynamoTable) -> None:
    world.add(1)
    async with start() as mirrored:
        await equal(mirrored)
    table.door.calls.clear()
    async with start() as mirrored:
        await equal(mirrored)
    (call,) = table.door.calls
    assert call.operation == "Scan"
    assert call.body["ConsistentRead"] is True, "an item not seen would stay, or be written twice"


async def test_the_table_is_read_to_its_end(start: Start, world: World, table: DynamoTable) -> None:
    """DynamoDB ends a page at 1 MB, counted before the filter: pages of others' items alone are empty."""
    filler = {"filler": {"S": "x" * 350_000}}
    table.put(*({"pk": {"S": f"OTHER#{n}"}, "sk": {"S": NAMESPACE}} | filler for n in range(7)))
    table.put(*(item.key(f"stale-{n}", NAMESPACE) for n in range(5)))
    async with start() as mirrored:
        await equal(mirrored)
    assert len(table.door.of("Scan")) >= 3
    assert sorted(table.door.written) == [f"delete stale-{n}" for n in range(5)]


async def test_what_someone_else_did_to_the_table_is_mended(
    start: Start, world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = world.add(1)
    async with start() as mirrored:
        await equal(mirrored)
        table.put(item.build(world.stacks[uid]) | {"node_port": {"N": "1"}, "mark": {"B": b"\0"}})
        table.put(item.key("stale", NAMESPACE))
        monkeypatch.setattr(mirror, "READ_SECONDS", 0.0)
        await until(lambda: table.items() == [item.build(world.stacks[uid])])


def accept(call: Call) -> Answer:
    """DynamoDB with an empty table and all the room, and without moto's slowness."""
    return 200, {"Items": []} if call.operation == "Scan" else {"UnprocessedItems": {}}


async def test_a_thousand_stacks(start: Start, world: World, table: DynamoTable) -> None:
    table.door.answer = accept
    uids = [world.add(1, user + 1) for user in range(1000)]
    async with start() as mirrored:
        await equal(mirrored)
        assert [call.operation for call in table.door.calls] == ["Scan", *["BatchWriteItem"] * 40]
        assert sorted(table.door.written) == sorted(f"put {uid}" for uid in uids)
        table.door.calls.clear()
        await equal(mirrored)
        assert table.door.calls == []
        world.stacks.clear()
        await equal(mirrored)
    assert len(table.door.calls) == 40
    assert sorted(table.door.written) == sorted(f"delete {uid}" for uid in uids)


async def test_an_outage_is_caught_up_with(
    start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slipway")
    async with start() as mirrored:
        gone, kept = world.add(1), world.add(2)
        await equal(mirrored)
        table.dynamo.stop()
        del world.stacks[gone]
        world.change(kept, nodeName="node-9")
        new = world.add(3)
        await until(lambda: mirrored.behind == 3)
        since = mirrored.last_success
        await until(lambda: len(caplog.records) > 0)
        assert mirrored.last_success == since
        table.dynamo.start()
        await equal(mirrored)
    assert table.by_uid() == {uid: item.build(world.stacks[uid]) for uid in (kept, new)}
    warning, over = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert warning[0] == "WARNING"
    assert table.name in warning[1]
    assert "cannot be reached" in warning[1]
    assert over == ("INFO", "the mirror has caught up")


async def test_after_a_failure_the_table_is_read_anew(start: Start, world: World, table: DynamoTable) -> None:
    """Who mends a table may have emptied it."""
    async with start() as mirrored:
        first = world.add(1)
        await equal(mirrored)
        table.door.answer = lambda _: (400, {"__type": "ResourceNotFoundException", "message": "for now"})
        second = world.add(2)
        await until(lambda: mirrored.behind == 1 and len(table.door.calls) > 2)
        table.client.delete_item(TableName=table.name, Key=item.key(first, NAMESPACE))
        table.door.answer = lambda _: None
        await equal(mirrored)
    assert set(table.by_uid()) == {first, second}


async def test_nobody_listens_at_start(
    start: Start, world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", NOBODY)
    world.add(1)
    async with start() as mirrored:
        await until(lambda: "cannot be reached" in caplog.text)
        assert mirrored.behind == 1
        assert mirrored.last_success is None


async def test_a_put_whose_answer_was_lost_is_deleted_with_its_stack(
    start: Start, world: World, table: DynamoTable
) -> None:
    """Its error says nothing of whether it was heard, and the Stack is gone before the next try."""
    lost: list[Call] = []

    def lose(call: Call) -> Answer | None:
        if call.operation != "BatchWriteItem" or len(lost) == 2:
            return None
        lost.append(call)
        if len(lost) == 2:
            return THROTTLED
        table.client.batch_write_item(RequestItems=call.body["RequestItems"])
        world.stacks.clear()
        return 500, {"__type": "InternalServerError", "message": "lost"}

    table.door.answer = lose
    world.add(1)
    async with start() as mirrored:
        await until(lambda: len(lost) == 2)
        await equal(mirrored)
    assert table.items() == []
    assert len(table.door.of("Scan")) == 1, "it did not need to read that"


async def test_an_endpoint_that_hangs(
    settings: Settings, world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the operator does not wait for it."""
    release = threading.Event()
    table.door.answer = lambda _: (500, {}) if release.wait(10) else None
    task = asyncio.create_task(world.mirror(settings).run())
    try:
        await until(lambda: table.door.calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 1)
    finally:
        release.set()


async def test_an_endpoint_that_is_slow(
    start: Start, world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(mirror_table, "CONFIG", mirror_table.CONFIG.merge(Config(read_timeout=0.05)))
    table.door.answer = lambda _: (500, {}) if release.wait(10) else None
    uid = world.add(1)
    async with start() as mirrored:
        await until(lambda: "cannot be reached (ReadTimeoutError)" in caplog.text)
        table.door.answer = lambda _: None
        release.set()
        await equal(mirrored)
    assert set(table.by_uid()) == {uid}


async def test_what_dynamodb_has_no_room_for_is_sent_again(start: Start, world: World, table: DynamoTable) -> None:
    table.door.room = 10
    uids = [world.add(n) for n in range(1, 41)]
    async with start() as mirrored:
        await equal(mirrored)
    assert set(table.by_uid()) == set(uids)
    sizes = [len(call.changes) for call in table.door.of("BatchWriteItem")]
    assert sizes == [25, 15, 5, 15, 5]


async def test_throttled_for_long(
    start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Slow, told once, and without reading the table again: what is known stays true."""
    caplog.set_level(logging.INFO, "slipway")
    table.door.room = 1
    uids = [world.add(n) for n in range(1, 21)]
    async with start() as mirrored:
        await equal(mirrored)
    assert set(table.by_uid()) == set(uids)
    assert len(table.door.of("Scan")) == 1
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2, texts
    assert table.name in texts[0]
    assert "end of its capacity" in texts[0]


async def test_throttled_by_error(
    start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.door.answer = lambda call: THROTTLED if call.operation == "BatchWriteItem" else None
    uid = world.add(1)
    async with start() as mirrored:
        await until(lambda: "end of its capacity" in caplog.text)
        table.door.answer = lambda _: None
        await equal(mirrored)
    assert set(table.by_uid()) == {uid}
    assert len(table.door.of("Scan")) == 1


REFUSALS = [
    ("ResourceNotFoundException", "create it with the keys pk and sk"),
    ("AccessDeniedException", "docs/mirror.md"),
    ("UnrecognizedClientException", "docs/mirror.md"),
    ("SomethingNewException", "SomethingNewException: because"),
]


@pytest.mark.parametrize(("code", "told"), REFUSALS)
async def test_a_refusal_says_once_what_to_do(
    code: str, told: str, start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.door.answer = lambda _: (400, {"__type": code, "message": "because"})
    world.add(1)
    async with start():
        await until(lambda: len(table.door.calls) >= 3)
    (record,) = caplog.records
    assert told in record.getMessage()
    assert table.name in record.getMessage()
    assert record.exc_info is None


async def test_no_such_table(world: World, table: DynamoTable, soon: None, caplog: pytest.LogCaptureFixture) -> None:
    mirrored = world.mirror(some_settings(ddb_stack_table="no-such-table", aws_region=REGION))
    assert await mirrored._try() == mirror.FIRST_DELAY
    assert f"there is no DynamoDB table no-such-table in {REGION}" in caplog.text
    mirrored._table.close()


async def test_a_table_with_other_keys(
    world: World, table: DynamoTable, soon: None, caplog: pytest.LogCaptureFixture
) -> None:
    other = table.dynamo.new_table(("id",))
    mirrored = world.mirror(some_settings(ddb_stack_table=other.name, aws_region=REGION))
    world.add(1)
    await mirrored._try()
    assert "must have the keys pk and sk" in caplog.text
    other.close()
    mirrored._table.close()


@pytest.mark.parametrize("answer", [(200, {}), (200, {"Items": None}), (502, {})])
async def test_something_else_answers(
    answer: Answer, start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Above all it is not taken for an empty table."""
    world.add(1)
    table.door.answer = lambda _: answer
    async with start() as mirrored:
        await until(lambda: caplog.records)
        assert table.door.written == []
        table.door.answer = lambda _: None
        await equal(mirrored)
    assert len(table.items()) == 1


async def test_no_credentials(
    start: Start, world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uid = world.add(1)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with start() as mirrored:
        await until(lambda: "needs AWS credentials" in caplog.text)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        await equal(mirrored)
    assert set(table.by_uid()) == {uid}
    assert "not-a-secret" not in caplog.text


async def test_who_does_not_lead_neither_reads_nor_writes(start: Start, world: World, table: DynamoTable) -> None:
    world.leads = False
    uid = world.add(1)
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return world.leads

    async with start() as mirrored:
        mirrored._may_write = ask
        await until(lambda: asked > 3)
        assert table.door.calls == []
        assert (mirrored.behind, mirrored.last_success) == (0, None)
        world.leads = True
        await equal(mirrored)
    assert set(table.by_uid()) == {uid}


async def test_the_lease_is_lost_between_two_writes(start: Start, world: World, table: DynamoTable) -> None:
    """Another leader's work meanwhile is seen by reading again."""

    def once(call: Call) -> None:
        world.leads = call.operation != "BatchWriteItem"

    table.door.answer = once
    for n in range(1, 61):
        world.add(n)
    async with start() as mirrored:
        await until(lambda: not world.leads)
        await until(lambda: mirrored.behind == 0)
        assert len(table.door.written) == 25
        assert mirrored.last_success is None
        table.put(item.key("written-by-the-other", NAMESPACE))
        table.door.answer = lambda _: None
        world.leads = True
        await equal(mirrored)
    assert set(table.by_uid()) == set(world.stacks)
    assert len(table.door.written) == 61


async def test_an_enormous_pod(start: Start, world: World, table: DynamoTable) -> None:
    template = a_stack()["spec"]["template"]
    container = template["spec"]["containers"][0] | {"env": [{"name": "BIG", "value": "ü" * 400_000}]}
    huge = world.add(1, template=template | {"spec": {"containers": [container]}})
    small = world.add(2)
    async with start() as mirrored:
        await equal(mirrored)
    seen = table.by_uid()
    assert set(seen) == {huge, small}
    assert "pod_spec" not in seen[huge]
    assert int(seen[huge]["pod_spec_too_large"]["N"]) > 400_000
    assert seen[huge]["status"] == {"S": "running"}


async def test_a_stack_of_another_form_keeps_no_other_out(
    start: Start, world: World, table: DynamoTable, caplog: pytest.LogCaptureFixture
) -> None:
    """What the table says of it stays."""
    strange = world.add(1)
    async with start() as mirrored:
        await equal(mirrored)
        before = table.by_uid()[strange]
        world.put(world.stacks[strange] | {"spec": {"userId": "nobody"}})
        other = world.add(2)
        await equal(mirrored)
        for _ in range(3):
            await equal(mirrored)
    assert table.by_uid() == {strange: before, other: item.build(world.stacks[other])}
    assert caplog.text.count("stack-1-1") == 1


async def test_cancelled_in_the_middle_of_a_write(start: Start, world: World, table: DynamoTable) -> None:
    for n in range(1, 101):
        world.add(n)
    async with start() as mirrored:
        await until(lambda: table.door.of("BatchWriteItem"))
        stale = next(iter(world.stacks))
        del world.stacks[stale]
    assert 0 < len(table.items()) < 100, "it did not come to its end, but what was under way did"
    async with start() as mirrored:
        await equal(mirrored)
    assert set(table.by_uid()) == set(world.stacks)


async def test_one_that_leads_again_reads_the_table_again(
    settings: Settings, world: World, table: DynamoTable, soon: None
) -> None:
    """Another leader mirrored a Stack meanwhile that is gone by now."""
    mirrored = world.mirror(settings)
    for _ in range(2):
        task = asyncio.create_task(mirrored.run())
        await equal(mirrored)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert mirrored.behind == 0
        assert table.items() == []
        table.put(item.key("ghost", NAMESPACE))


async def test_times_are_numbers_for_dynamodbs_own_ttl(start: Start, world: World, table: DynamoTable) -> None:
    ends, kept = world.add(1), world.add(2, onExpiry="Keep")
    async with start() as mirrored:
        await equal(mirrored)
    seen = table.by_uid()
    assert seen[ends]["expires_at"] == {"N": str(int(datetime(2026, 1, 1, 14, tzinfo=UTC).timestamp()))}
    assert "expires_at" not in seen[kept], "DynamoDB must not take what stays"
    assert seen[kept]["ttl_expires_at"] == {"S": "2026-01-01T14:00:00Z"}


@pytest.mark.parametrize("profile", [None, "no-such-profile"])
def test_no_region(profile: str | None, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(InvalidInput, match=r"^AWS_REGION: must"):
        world.mirror(some_settings(ddb_stack_table="stacks"))


async def test_the_region_may_come_from_the_aws_configuration(
    world: World, table: DynamoTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    world.add(1)
    mirrored = world.mirror(some_settings(ddb_stack_table=table.name))
    await mirrored._try()
    assert len(table.items()) == 1
    mirrored._table.close()


def test_no_table(world: World) -> None:
    with pytest.raises(InvalidInput, match=r"^DDB_STACK_TABLE: must"):
        world.mirror(some_settings())


def test_no_test_reaches_aws() -> None:
    for service in ("dynamodb", "sts", "ecr"):
        client = boto3.client(service, region_name=REGION)
        assert client.meta.endpoint_url == NOBODY
        client.close()
