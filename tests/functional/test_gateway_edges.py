"""What goes around every request: its id, the log, the audit, the limits, the figures."""

import asyncio
import logging
import re
from typing import Any

import pytest
from yarl import URL

from api_gateway import limits
from api_gateway.limits import LIMITS
from slipway.api.kinds import STACK
from slipway.api.stack import Reason
from tests.functional.conftest import StartGateway
from tests.functional.test_gateway_http import KEY, raw
from tests.functional.test_stack_api import listed
from tests.support import api_answers
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, answer_with, ask, placed, refused
from tests.support.logged import Log
from tests.support.objects import a_stack
from tests.support.until import until

MADE_UP = re.compile(r"[0-9a-f]{32}")


async def id_of(gateway: Gateway, path: str = "/stacks", method: str = "GET", **headers: str) -> str:
    async with gateway.client.request(method, path, headers=headers) as response:
        return response.headers["X-Request-ID"]


# ids


@pytest.mark.parametrize(
    "given", ["a", "0" * 32, "x" * 128, "!~/:[]{}\"'<>%0a", "123e4567-e89b-12d3-a456-426614174000"]
)
async def test_a_well_formed_id_is_kept(gateway: Gateway, given: str) -> None:
    for path in ("/stacks", "/healthz", "/no/such/path", "/stacks/x", "/docs"):
        assert await id_of(gateway, path, **{"X-Request-ID": given}) == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "é", "a\tb", "日本"])
async def test_any_other_id_is_replaced(gateway: Gateway, given: str) -> None:
    answer = await raw(gateway, b"GET /stacks HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: " + given.encode() + b"\r\n")
    (told,) = re.findall(rb"X-Request-ID: (\S+)\r\n", answer)
    assert MADE_UP.fullmatch(told.decode())


async def test_each_request_gets_its_own(gateway: Gateway) -> None:
    ids = {await id_of(gateway) for _ in range(5)}
    assert len(ids) == 5
    assert all(MADE_UP.fullmatch(identity) for identity in ids)


async def test_refusals_have_one_too(start_gateway: StartGateway) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        assert await id_of(gateway, **{"X-Request-ID": "mine"}) == "mine"
        assert await id_of(gateway, method="PUT", **{"X-Request-ID": "mine"}) == "mine"


async def test_errors_of_the_image_factory_carry_it(gateway: Gateway) -> None:
    for headers in ({}, {"X-Request-ID": "mine"}):
        async with gateway.client.get("/api/v1/builds/x/y", headers=headers) as response:
            assert (await response.json())["trace_id"] == response.headers["X-Request-ID"]


async def test_every_line_of_a_request_carries_it(gateway: Gateway, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: object) -> None:
        logging.getLogger("api_gateway.test").warning("deep inside")
        await asyncio.sleep(0)
        raise ZeroDivisionError

    monkeypatch.setattr("api_gateway.routes.stacks.read", breaks)
    ids = ["one", "two", "three"]
    await asyncio.gather(*(id_of(gateway, method="POST", **{"X-Request-ID": i}) for i in ids))
    for identity in ids:
        said = [line["message"] for line in log.lines if line["request_id"] == identity]
        assert said[:2] == ["deep inside", "POST /stacks failed"]
        assert len(said) == 3, "and the audit"
    logging.getLogger("api_gateway.test").warning("outside")
    assert "request_id" not in log.lines[-1]


async def test_what_a_request_leaves_behind_carries_its_id(gateway: Gateway, api: FakeApi, log: Log) -> None:
    api.refuse("delete", STACK, api_answers.INTERNAL, times=8)  # each call has four tries
    answer_with(api, refused(Reason.USER_LIMIT_REACHED))
    assert await id_of_post(gateway, "mine") == 503
    await until(lambda: not api.names(STACK), seconds=10)
    (line,) = [line for line in log.lines if line["logger"] == "api_gateway.store"]
    assert line["request_id"] == "mine"
    assert line["message"].startswith("cannot delete stack-1-2")


async def id_of_post(gateway: Gateway, identity: str) -> int:
    return (await gateway.call("POST", "/stacks", ask(), headers={"X-Request-ID": identity}))[0]


async def test_a_path_cannot_forge_a_line(
    gateway: Gateway, log: Log, monkeypatch: pytest.MonkeyPatch, api: FakeApi
) -> None:
    monkeypatch.setattr("api_gateway.routes.stacks._found", lambda _: 1 // 0)
    path = URL("/stacks/x%0A%22logger%22:%22slipway.audit%22%20who=root%20status=200", encoded=True)
    async with gateway.client.session.delete(gateway.client.make_url("/").join(path)) as response:
        assert response.status == 500
    failed, audit = log.lines
    assert failed["message"].startswith('DELETE /stacks/x\n"logger')
    assert audit["resource"] == 'x\n"logger":"slipway.audit" who=root status=200'
    assert "resource=x%0A%22logger%22:%22slipway.audit%22%20who%3Droot%20status%3D200 status=500" in audit["message"]


# audit


async def test_what_is_audited_of_a_life(gateway: Gateway, api: FakeApi, log: Log) -> None:
    answer_with(api, placed)
    _, made = await gateway.call("POST", "/stacks", ask(), headers={"X-Request-ID": "first"})
    identity = made["stack_id"]
    for path in ("/stacks", f"/stacks/{identity}", "/healthz"):
        await gateway.call("GET", path)
    await gateway.call("DELETE", f"/stacks/{identity}")
    await gateway.call("DELETE", f"/stacks/{identity}")
    lines = log.audit
    times = [line.pop("ms") for line in lines]
    assert all(isinstance(t, int) and t >= 0 for t in times)
    who = {"who": "anonymous", "tenant": "-", "client": "127.0.0.1"}
    told = [{k: v for k, v in line.items() if k not in ("time", "message", "request_id")} for line in lines]
    everywhere = {"level": "INFO", "logger": "slipway.audit", **who}
    one = {"method": "DELETE", "route": "/stacks/{stack_id}", "resource": identity}
    assert told == [
        everywhere | {"method": "POST", "route": "/stacks", "resource": identity, "status": 201},
        everywhere | one | {"status": 200},
        everywhere | one | {"status": 404},
    ]
    assert lines[0]["request_id"] == "first"
    assert lines[0]["message"] == (
        f"who=anonymous tenant=- client=127.0.0.1 method=POST route=/stacks resource={identity} "
        f"status=201 ms={times[0]}"
    )


async def test_no_bodies_and_no_credentials(start_gateway: StartGateway, api: FakeApi, log: Log) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        answer_with(api, placed)
        headers = {"X-API-KEY": KEY, "Cookie": "slipway_token=sesame"}
        assert (await gateway.call("POST", "/stacks?q=sesame", ask(), headers=headers))[0] == 201
        assert (await gateway.call("POST", "/stacks", ask(pod_spec="sesame"), headers=headers))[0] == 400
        assert (await gateway.call("POST", "/stacks", headers={"Authorization": "Bearer sesame"}))[0] == 401
        login = {"username": "sesame", "password": "sesame"}
        assert (await gateway.call("POST", "/api/v1/auth/login", login))[0] == 503
    assert len(log.audit) == 4
    for secret in (KEY, "sesame", "ghcr.io"):
        assert secret not in log.stream.getvalue()


async def test_the_refused_are_audited(start_gateway: StartGateway, log: Log) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        await gateway.call("POST", "/stacks", ask())
        await gateway.call("DELETE", "/stacks/x", headers={"X-API-KEY": "wrong"})
    assert [(a["status"], a["who"], a["tenant"], a["resource"]) for a in log.audit] == [
        (401, "-", "-", "-"),
        (401, "-", "-", "x"),
    ]


async def test_a_foreign_page_is_audited(gateway: Gateway, log: Log) -> None:
    assert (await gateway.call("POST", "/stacks", ask(), headers={"Origin": "https://evil.example"}))[0] == 403
    (line,) = log.audit
    assert (line["status"], line["route"]) == (403, "/stacks")


async def test_what_reaches_no_route_is_not_audited(gateway: Gateway, log: Log) -> None:
    for method, path in (("POST", "/no/such/path"), ("PUT", "/stacks"), ("DELETE", "/stats"), ("OPTIONS", "/stacks")):
        async with gateway.client.request(method, path) as response:
            assert response.status in (404, 405)
    assert log.audit == []


async def test_a_long_name_is_cut(gateway: Gateway, log: Log) -> None:
    assert (await gateway.call("DELETE", f"/stacks/{'x' * 5000}"))[0] == 404
    (line,) = log.audit
    assert line["resource"] == "x" * 256


@pytest.mark.parametrize("name", ["%FF", "%ED%A0%80", "%00", "%E2%80%AE", "%F0%9F%98%80", "%252F", "a%20b"])
async def test_names_that_are_no_text(gateway: Gateway, log: Log, name: str) -> None:
    path = URL(f"/stacks/{name}", encoded=True)
    async with gateway.client.session.delete(gateway.client.make_url("/").join(path)) as response:
        assert response.status == 404
    (line,) = log.audit
    assert line["status"] == 404
    assert line["message"].isascii()
    assert len(line["message"].split(" ")) == 8


# limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def frozen(gateway: Gateway) -> Clock:
    """The time of the limits, which stands still."""
    counted, clock = gateway.client.app[LIMITS], Clock()
    counted.writes.clock = counted.starts.clock = clock
    return clock


async def asked(gateway: Gateway, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, Any]:
    """(status, Retry-After, body)"""
    async with gateway.client.request(method, path, json=body, headers=headers) as response:
        return response.status, response.headers.get("Retry-After", ""), await response.json()


async def test_writes_of_one_client(start_gateway: StartGateway, log: Log) -> None:
    async with start_gateway(client_writes=1) as gateway:
        clock = frozen(gateway)
        for _ in range(4):
            assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 404
        before = await metric(gateway, 'slipway_gateway_limited_total{limit="client_writes"}')
        text = "too many requests: one client may send 1 writes a second; try again in 1 s"
        assert await asked(gateway, "DELETE", "/stacks/x") == (429, "1", {"error": text})
        assert (await asked(gateway, "POST", "/stacks", ask()))[0] == 429
        assert await metric(gateway, 'slipway_gateway_limited_total{limit="client_writes"}') - before == 2
        assert [a["status"] for a in log.audit] == [404] * 4 + [429] * 2
        for _ in range(20):
            assert (await asked(gateway, "GET", "/stacks"))[0] == 200, "reads are free"
            assert (await asked(gateway, "POST", "/no/such/path"))[0] == 404
        clock.now += 1
        assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 404
        assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 429


async def test_who_has_no_key_takes_nothing_from_who_has(start_gateway: StartGateway) -> None:
    async with start_gateway(api_key=KEY, client_writes=1) as gateway:
        frozen(gateway)
        for _ in range(20):
            assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 401
        assert (await asked(gateway, "DELETE", "/stacks/x", **{"X-API-KEY": KEY}))[0] == 404


async def test_writes_under_way(start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IN_FLIGHT", 2)
    async with start_gateway(stack_scheduling_timeout=20) as gateway:
        waiting = [asyncio.create_task(gateway.call("POST", "/stacks", ask(1, p))) for p in (1, 2)]
        await until(lambda: len(api.names(STACK)) == 2)
        assert await metric(gateway, "slipway_http_requests_in_flight") == 3, "with the one that reads this"
        text = "too many requests: 2 of this client are under way; try again in 1 s"
        assert await asked(gateway, "DELETE", "/stacks/x") == (429, "1", {"error": text})
        for name in api.names(STACK):
            api.edit(STACK, name, lambda s: s.update(status=placed(s)["status"]))
        assert [status for status, _ in await asyncio.gather(*waiting)] == [201, 201]
        assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 404
        assert not gateway.client.app[LIMITS].in_flight


async def test_starts_and_deletions_of_one_user(start_gateway: StartGateway, api: FakeApi) -> None:
    async with start_gateway(stack_rate_per_user=2) as gateway:
        clock = frozen(gateway)
        answer_with(api, placed)
        _, _, made = await asked(gateway, "POST", "/stacks", ask())
        path = f"/stacks/{made['stack_id']}"
        for _ in range(5):
            assert (await asked(gateway, "POST", "/stacks", ask()))[0] == 409, "nothing came of it: not counted"
        assert (await asked(gateway, "POST", "/stacks", ask(1, pod_spec="")))[0] == 400, "nor this"
        assert (await asked(gateway, "DELETE", "/stacks/x"))[0] == 404, "nor this"
        assert (await asked(gateway, "DELETE", path))[0] == 200
        text = "user 1 starts and deletes too many stacks: at most 2 in a minute; try again in 30 s"
        assert await asked(gateway, "POST", "/stacks", ask()) == (429, "30", {"error": text})
        assert api.names(STACK) == []
        assert (await asked(gateway, "POST", "/stacks", ask(2)))[0] == 201, "another user"
        clock.now += 30
        assert (await asked(gateway, "POST", "/stacks", ask()))[0] == 201


async def test_deletions_are_held_back_as_well(start_gateway: StartGateway, api: FakeApi) -> None:
    async with start_gateway(stack_rate_per_user=1) as gateway:
        frozen(gateway)
        answer_with(api, placed)
        _, _, made = await asked(gateway, "POST", "/stacks", ask())
        before = await metric(gateway, 'slipway_gateway_limited_total{limit="user_starts"}')
        assert (await asked(gateway, "DELETE", f"/stacks/{made['stack_id']}"))[:2] == (429, "60")
        assert await metric(gateway, 'slipway_gateway_limited_total{limit="user_starts"}') - before == 1
        assert api.names(STACK) == ["stack-1-2"]


# figures


async def metric(gateway: Gateway, name: str) -> float:
    async with gateway.client.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0)


async def test_figures_of_the_cache(start_gateway: StartGateway, api: FakeApi) -> None:
    synced, resources = (f'slipway_gateway_{name}{{kind="Stack"}}' for name in ("watch_synced", "resources"))
    api.refuse("list", STACK, api_answers.OVERLOADED)
    async with start_gateway(synced=False) as gateway:
        await until(lambda: gateway.kube["list"])
        assert await metric(gateway, synced) == 0
        api.admit_all()
        api.put(STACK, a_stack(1, 1))
        api.put(STACK, a_stack(1, 2))
        await listed(gateway, 2)
        assert (await metric(gateway, synced), await metric(gateway, resources)) == (1, 2)
        api.remove(STACK, "stack-1-1")
        await listed(gateway, 1)
        assert await metric(gateway, resources) == 1


async def test_nothing_is_in_flight_but_this(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.call("GET", "/stacks/x")
    assert await metric(gateway, "slipway_http_requests_in_flight") == 1
