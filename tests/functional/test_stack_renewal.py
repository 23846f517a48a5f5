"""POST /stacks/{stack_id}/renew: the new end is written, and answered once the operator speaks of it."""

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_gateway import renewal
from slipway.api.kinds import POD, STACK
from slipway.api.meta import Object, timestamp
from slipway.api.stack import Reason
from slipway.rules.durations import parse_duration
from slipway.rules.stack import Life, expires_at
from tests.functional.conftest import StartGateway
from tests.functional.test_stack_api import FIELDS, listed
from tests.functional.test_stack_operator import settings
from tests.support import api_answers
from tests.support.fake_api import Event, FakeApi
from tests.support.gateway import Gateway, ask, placed
from tests.support.logged import Log
from tests.support.objects import a_stack, with_condition
from tests.support.operator import Operator
from tests.support.until import until

LIFE = Life(7200, 86400)
PATH = "/stacks/uid-1-2/renew"


def a_running_stack(age: float = 1800, **spec: Any) -> Object:
    """age: seconds since its creation."""
    stack = placed(a_stack(**spec))
    created = datetime.now(UTC) - timedelta(seconds=age)
    stack["metadata"]["creationTimestamp"] = timestamp(created)
    stack["status"]["expiresAt"] = timestamp(expires_at(created, spec.get("ttl"), LIFE))
    return stack


async def there(gateway: Gateway, api: FakeApi, stack: Object) -> None:
    api.put(STACK, stack)
    await listed(gateway, 1)


def taking_up(api: FakeApi) -> Callable[[], None]:
    """An operator that takes up each new end."""

    def heard(event: Event) -> None:
        stack = event.obj
        if event.kind == STACK and stack["metadata"]["generation"] != stack["status"]["observedGeneration"]:
            created = datetime.fromisoformat(stack["metadata"]["creationTimestamp"])
            end = timestamp(expires_at(created, stack["spec"].get("ttl"), LIFE))
            said = {"observedGeneration": stack["metadata"]["generation"], "expiresAt": end}
            api.edit(STACK, stack["metadata"]["name"], lambda s: s["status"].update(said))

    return api.subscribe(heard)


def life_of(answer: Any) -> float:
    """Seconds from creation to the end."""
    times = (datetime.fromisoformat(answer[key]) for key in ("ttl_expires_at", "created_at"))
    end, created = times
    return (end - created).total_seconds()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ttl": "2h"}', b'{"ttl": "120m"}'])
async def test_two_more_hours_from_now(gateway: Gateway, api: FakeApi, body: bytes) -> None:
    await there(gateway, api, a_running_stack(age=1800))
    taking_up(api)
    headers = {"Content-Type": "application/json"}
    status, answer = await gateway.call("POST", PATH, data=body, headers=headers)
    assert (status, list(answer)) == (200, FIELDS)
    assert 9000 <= life_of(answer) <= 9010
    ttl = api.the(STACK)["spec"]["ttl"]
    assert ttl == f"{life_of(answer):.0f}s"
    assert await gateway.call("GET", "/stacks/uid-1-2") == (200, answer)
    assert (answer["status"], answer["node_port"]) == ("running", 30001)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": ""}, {"Content-Type": "application/x-www-form-urlencoded"}])
async def test_no_body_of_any_type(gateway: Gateway, api: FakeApi, headers: dict[str, str]) -> None:
    await there(gateway, api, a_running_stack())
    taking_up(api)
    assert (await gateway.call("POST", PATH, headers=headers))[0] == 200


async def test_no_body_in_chunks(gateway: Gateway, api: FakeApi) -> None:
    async def chunks() -> Any:
        await asyncio.sleep(0)
        for chunk in list[bytes]():
            yield chunk

    await there(gateway, api, a_running_stack())
    taking_up(api)
    assert (await gateway.call("POST", PATH, data=chunks()))[0] == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"1h"', "body"),
        (b" ", "body"),
        (b"\xff", "body"),
        (b'{"ttl": null}', "ttl"),
        (b'{"ttl": ""}', "ttl: must be a duration"),
        (b'{"ttl": 3600}', "ttl"),
        (b'{"ttl": "1"}', "ttl: must be a duration"),
        (b'{"ttl": "-1h"}', "ttl: must be a duration"),
        (b'{"ttl": "1.5h"}', "ttl: must be a duration"),
        (b'{"ttl": "1h\\n"}', "ttl: must be a duration"),
        (b'{"ttl": "\\u0661h"}', "ttl: must be a duration"),
        (b'{"ttl": "0s"}', "ttl: must be a duration longer than zero"),
        (b'{"ttl": "99999999999h"}', "ttl: must be a duration longer than zero and at most"),
        (b'{"ttl": "' + b"1h" * 17 + b'"}', "ttl"),
        (b'{"ttl": "25h"}', "ttl: must be at most 8"),
        (b'{"ttl": "1h", "ttl": "1h"}', "body: must be JSON: ttl is given twice"),
        (b'{"TTL": "1h"}', "TTL: unknown field"),
        (b'{"ttl": "1h", "user_id": 1}', "user_id: unknown field"),
    ],
)
async def test_a_bad_body(gateway: Gateway, api: FakeApi, body: bytes, field: str) -> None:
    await there(gateway, api, a_running_stack())
    status, answer = await gateway.call("POST", PATH, data=body, headers={"Content-Type": "application/json"})
    assert (status, list(answer)) == (400, ["error"]), answer
    assert answer["error"].startswith(field), answer
    assert "\n" not in answer["error"]
    assert "ttl" not in api.the(STACK)["spec"]


@pytest.mark.parametrize("type_", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_of_another_type(gateway: Gateway, api: FakeApi, type_: str) -> None:
    await there(gateway, api, a_running_stack())
    status, answer = await gateway.call("POST", PATH, data=b'{"ttl":"1h"}', headers={"Content-Type": type_})
    assert (status, answer) == (400, {"error": "Content-Type: must be application/json"})


async def test_a_shorter_time_changes_nothing(gateway: Gateway, api: FakeApi) -> None:
    await there(gateway, api, a_running_stack(age=60))
    before = await gateway.call("GET", "/stacks/uid-1-2")
    assert await gateway.call("POST", PATH, {"ttl": "1h"}) == before
    assert not gateway.kube["patch"]


async def test_as_much_as_is_left_and_then_no_more(gateway: Gateway, api: FakeApi) -> None:
    await there(gateway, api, a_running_stack(age=82800, ttl="23h30m"))
    taking_up(api)
    status, answer = await gateway.call("POST", PATH, {"ttl": "2h"})
    assert status == 400
    most = int(answer["error"].removeprefix("ttl: must be at most ").split("s:")[0])
    assert 3500 < most <= 3600
    status, answer = await gateway.call("POST", PATH)
    assert (status, life_of(answer)) == (200, 86400)
    for body in ({}, {"ttl": "1s"}, {"ttl": "2h"}):
        status, answer = await gateway.call("POST", PATH, body)
        assert status == 409
        assert "already lives as long as it may" in answer["error"]


@pytest.mark.parametrize(
    "stack",
    [
        a_running_stack(age=7201),
        a_running_stack(age=3601, ttl="1h"),
        with_condition(a_running_stack(), Reason.EXPIRED, stalled=True),
        with_condition(a_running_stack(), Reason.POD_DELETED, stalled=True),
        with_condition(a_running_stack(), Reason.USER_LIMIT_REACHED, stalled=True),
        with_condition(a_running_stack(), Reason.POD_FAILED, stalled=True, podName="stack-1-2"),
    ],
    ids=["over", "over-by-its-own", "expired-and-kept", "lost", "refused", "failed"],
)
async def test_one_that_has_ended(gateway: Gateway, api: FakeApi, stack: Object) -> None:
    await there(gateway, api, stack)
    assert await gateway.call("POST", PATH) == (409, {"error": "the stack has ended"})
    assert not gateway.kube["patch"]


async def test_no_such_stack(gateway: Gateway, api: FakeApi) -> None:
    assert await gateway.call("POST", PATH) == (404, {"error": "stack not found"})
    await there(gateway, api, a_running_stack())
    api.edit(STACK, "stack-1-2", lambda s: s["metadata"].update(deletionTimestamp=timestamp(datetime.now(UTC))))
    await listed(gateway, 0)
    assert await gateway.call("POST", PATH) == (404, {"error": "stack not found"})


async def test_an_operator_that_is_silent(gateway: Gateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "SECONDS", 0.05)
    await there(gateway, api, a_running_stack())
    status, answer = await gateway.call("POST", PATH)
    assert status == 503
    assert "the new end is written, but the operator has not taken it up" in answer["error"]
    assert parse_duration(api.the(STACK)["spec"]["ttl"]) >= 9000


async def test_one_that_is_deleted_meanwhile(gateway: Gateway, api: FakeApi) -> None:
    await there(gateway, api, a_running_stack())
    request = asyncio.create_task(gateway.call("POST", PATH))
    await until(lambda: "ttl" in api.the(STACK)["spec"])
    api.remove(STACK, "stack-1-2")
    assert await request == (404, {"error": "stack not found"})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (api_answers.INTERNAL, 503),
        (api_answers.OVERLOADED, 503),
        (api_answers.NO_RIGHT, 503),
        (api_answers.INVALID, 400),
        (api_answers.NOT_FOUND, 404),
    ],
    ids=lambda case: case.message[:20] if isinstance(case, api_answers.Answer) else str(case),
)
async def test_the_api_server_refuses(gateway: Gateway, api: FakeApi, answer: api_answers.Answer, code: int) -> None:
    await there(gateway, api, a_running_stack())
    api.refuse("patch", STACK, answer)
    status, said = await gateway.call("POST", PATH)
    assert (status, list(said)) == (code, ["error"])
    assert "ttl" not in api.the(STACK)["spec"]


async def test_someone_else_was_faster(gateway: Gateway, api: FakeApi) -> None:
    """kubectl gives it a later end that the gateway has not seen yet: it must not be taken back."""
    await there(gateway, api, a_running_stack())
    taking_up(api)
    (watch,) = api.silence()
    api.edit(STACK, "stack-1-2", lambda s: s["spec"].update(ttl="20h"))
    request = asyncio.create_task(gateway.call("POST", PATH))
    await until(lambda: gateway.kube["patch"])
    watch.put_nowait(None)
    status, answer = await request
    assert (status, life_of(answer)) == (200, 72000)
    assert api.the(STACK)["spec"]["ttl"] == "20h"
    assert len(gateway.kube["patch"]) == 1


async def test_one_that_ends_while_it_is_renewed_stays_ended(gateway: Gateway, api: FakeApi) -> None:
    """A new end would bring one that is kept after its end back to life."""
    await there(gateway, api, a_running_stack(onExpiry="Keep"))
    (watch,) = api.silence()
    over = with_condition(api.the(STACK), Reason.EXPIRED, stalled=True)["status"]
    api.edit(STACK, "stack-1-2", lambda s: s.update(status=over))
    request = asyncio.create_task(gateway.call("POST", PATH))
    await until(lambda: gateway.kube["patch"])
    watch.put_nowait(None)
    assert await request == (409, {"error": "the stack has ended"})
    assert "ttl" not in api.the(STACK)["spec"]


async def test_a_change_that_is_never_seen(gateway: Gateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "SECONDS", 0.05)
    await there(gateway, api, a_running_stack())
    (watch,) = api.silence()
    api.edit(STACK, "stack-1-2", lambda s: s["metadata"].update(labels={"a": "b"}))
    status, answer = await gateway.call("POST", PATH)
    assert status == 503
    assert "changed by someone else" in answer["error"]
    watch.put_nowait(None)


async def test_one_that_changes_all_the_time(gateway: Gateway, api: FakeApi) -> None:
    await there(gateway, api, a_running_stack())
    api.refuse("patch", STACK, api_answers.MODIFIED)
    stop = asyncio.create_task(keep_changing(api))
    status, answer = await gateway.call("POST", PATH)
    stop.cancel()
    assert status == 503
    assert "others change the stack all the time" in answer["error"]
    assert len(gateway.kube["patch"]) == renewal.TRIES


async def keep_changing(api: FakeApi) -> None:
    for number in range(100_000):
        labels = {"n": str(number)}
        api.edit(STACK, "stack-1-2", functools.partial(label, labels))
        await asyncio.sleep(0.001)


def label(labels: dict[str, str], stack: Object) -> None:
    stack["metadata"]["labels"] = labels


async def test_many_at_once(gateway: Gateway, api: FakeApi) -> None:
    """The latest end wins, whatever the order."""
    await there(gateway, api, a_running_stack(age=7000))
    taking_up(api)
    answers = await asyncio.gather(*(gateway.call("POST", PATH, {"ttl": f"{hours}h"}) for hours in (1, 3, 2, 4, 2)))
    assert [status for status, _ in answers if status not in (200, 503)] == []
    assert 200 in {status for status, _ in answers}
    latest = max(life_of(answer) for status, answer in answers if status == 200)
    assert parse_duration(api.the(STACK)["spec"]["ttl"]) == latest


async def test_the_audit_names_it(gateway: Gateway, api: FakeApi, log: Log) -> None:
    await there(gateway, api, a_running_stack())
    taking_up(api)
    assert (await gateway.call("POST", PATH))[0] == 200
    (line,) = log.audit
    assert (line["route"], line["resource"], line["status"]) == ("/stacks/{stack_id}/renew", "uid-1-2", 200)


async def test_together_with_the_operator(start_gateway: StartGateway, api: FakeApi) -> None:
    given = {"stack_ttl": 3600, "stack_ttl_max": 4000}
    async with start_gateway(**given) as gateway, Operator(api, settings(**given)) as operator:
        _, made = await gateway.call("POST", "/stacks", ask())
        path = f"/stacks/{made['stack_id']}/renew"
        (pod,) = api.names(POD)
        assert life_of(made) == 3600
        status, answer = await gateway.call("POST", path, {"ttl": "3900s"})
        assert status == 200
        assert 3900 <= life_of(answer) <= 3990
        assert (await gateway.call("POST", path, {"ttl": "2h"}))[0] == 400
        await operator.settled()
        assert api.names(POD) == [pod], "the pod goes on"
        assert answer["node_port"] == made["node_port"]
