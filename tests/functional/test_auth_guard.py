"""Who is let in as whom: credentials at once, the cookie, permissions, tenants, and nobody at all."""

from typing import Any

import pytest
from aiohttp import web

from api_gateway import renewal
from api_gateway.auth.guard import MISSING
from api_gateway.auth.service import COOKIE
from api_gateway.keys import STACKS
from api_gateway.principal import PRINCIPAL
from api_gateway.routes import OPERATIONS
from api_gateway.routing import Operation
from slipway.access.records import NAME, PERMISSIONS
from slipway.api.kinds import SECRET, STACK
from slipway.rules.names import stack_name
from tests.functional.conftest import StartGateway
from tests.support.access import ALICE, a_key, a_user, bearer, good_token, let_in
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, answer_with, ask, placed
from tests.support.objects import a_stack
from tests.support.until import until

SETTINGS_KEY = "k" * 32
RED_KEY, BLUE_KEY, WEAK_KEY = "slw_red", "slw_blue", "slw_weak"
GUARDED = [o for o in OPERATIONS if o.access == "key"]
LET_IN = {200, 201, 404, 409, 503}
"""The guard has nothing against it: what comes of it is another matter."""
guarded = pytest.mark.parametrize("operation", GUARDED, ids=lambda o: f"{o.method} {o.path}")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operator is here to take up a renewal."""
    monkeypatch.setattr(renewal, "SECONDS", 0.01)


def key(text: str) -> dict[str, str]:
    return {"X-API-KEY": text}


async def sent(gateway: Gateway, operation: Operation, headers: dict[str, str], stack_id: str = "x") -> tuple[int, Any]:
    path = operation.path.format(stack_id=stack_id, user_id=1)
    body = ask() if operation.method == "POST" and path == "/stacks" else None
    return await gateway.call(operation.method, path, body, headers=headers)


def test_every_route_is_open_or_guarded() -> None:
    """A new route must be given its permission on purpose."""
    for operation in OPERATIONS:
        assert (operation.access != "open") == bool(operation.permission), operation.path
    assert {o.permission for o in GUARDED} <= set(PERMISSIONS)


@guarded
async def test_each_route_needs_its_permission(start_gateway: StartGateway, api: FakeApi, operation: Operation) -> None:
    others = [p for p in PERMISSIONS if p != operation.permission]
    keys = {"without": a_key("without", *others), "with": a_key("with", operation.permission)}
    keys |= {"all": a_key("all", "*"), "domain": a_key("domain", "stack:*"), "other": a_key("other", "build:*")}
    keys |= {"none": a_key("none"), "star": a_key("star", "stack", "stack:", "*:*", f"{operation.permission}x")}
    let_in(api, {"weak": a_user(*others)}, keys)
    answer_with(api, placed)
    async with start_gateway() as gateway:
        for name in ("without", "other", "none", "star"):
            status, body = await sent(gateway, operation, key(name))
            assert (status, body) == (403, {"error": f"the permission {operation.permission} is missing"})
        assert (await sent(gateway, operation, bearer(good_token("weak", a_user(*others)))))[0] == 403
        assert api.names(STACK) == []
        for name in ("with", "domain", "all"):
            assert (await sent(gateway, operation, key(name)))[0] in LET_IN
        assert (await sent(gateway, operation, {}))[0] in LET_IN, "nobody may do everything"


async def test_head_needs_what_get_needs(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, keys={"weak": a_key(WEAK_KEY, "stack:read")})
    async with start_gateway(anonymous=False) as gateway, gateway.client.head("/stacks", headers=key(WEAK_KEY)) as head:
        assert head.status == 403


@guarded
async def test_each_route_needs_credentials(start_gateway: StartGateway, api: FakeApi, operation: Operation) -> None:
    async with start_gateway(host="0.0.0.0") as gateway:
        assert await sent(gateway, operation, {}) == (401, {"error": MISSING})
        for bad in (
            key(""),
            key("x"),
            key("slw_" + "x" * 43),
            key("x" * 5000),
            bearer("x"),
            {"Authorization": "Basic eDp4"},
        ):
            status, _ = await sent(gateway, operation, bad)
            assert status == 401


class TestTenants:
    @pytest.fixture
    async def tenants(self, start_gateway: StartGateway, api: FakeApi) -> Any:
        """Three keys: of two tenants, and of none; a stack of each for the same user and problem."""
        keys = {"red": a_key(RED_KEY, "*", tenant="red"), "blue": a_key(BLUE_KEY, "*", tenant="blue")}
        let_in(api, keys=keys)
        answer_with(api, placed)
        async with start_gateway(api_key=SETTINGS_KEY) as gateway:
            made = {}
            for name, text in (("red", RED_KEY), ("blue", BLUE_KEY), ("", SETTINGS_KEY)):
                status, body = await gateway.call("POST", "/stacks", ask(), headers=key(text))
                assert status == 201
                made[name] = body["stack_id"]
            yield gateway, made

    async def test_a_stack_is_its_makers_tenants(self, tenants: Any, api: FakeApi) -> None:
        names = {stack_name(1, 2, tenant): tenant for tenant in ("red", "blue", "")}
        assert api.names(STACK) == sorted(names)
        for name, tenant in names.items():
            stack = api.find(STACK, name)
            assert stack
            assert stack["spec"]["tenant"] == tenant
            assert stack["metadata"].get("labels", {}).get("slipway.dev/tenant", "") == tenant

    async def test_lists_and_totals_are_of_the_tenant(self, tenants: Any) -> None:
        gateway, made = tenants
        for tenant, text in (("red", RED_KEY), ("blue", BLUE_KEY)):
            for path in ("/stacks", "/users/1/stacks"):
                _, body = await gateway.call("GET", path, headers=key(text))
                assert [s["stack_id"] for s in body["stacks"]] == [made[tenant]]
            assert (await gateway.call("GET", "/stats", headers=key(text)))[1]["total_stacks"] == 1
        assert len((await gateway.call("GET", "/stacks", headers=key(SETTINGS_KEY)))[1]["stacks"]) == 3
        assert (await gateway.call("GET", "/stats", headers=key(SETTINGS_KEY)))[1]["used_node_ports"] == 3

    @pytest.mark.parametrize(
        "operation", [o for o in GUARDED if "{stack_id}" in o.path], ids=lambda o: o.method + o.path
    )
    async def test_anothers_stack_is_not_there(self, tenants: Any, api: FakeApi, operation: Operation) -> None:
        gateway, made = tenants
        for foreign in (made["blue"], made[""]):
            answer = await sent(gateway, operation, key(RED_KEY), foreign)
            assert answer == (404, {"error": "stack not found"})
            assert answer == await sent(gateway, operation, key(RED_KEY), "no-such-stack"), "it cannot be told apart"
        assert len(api.names(STACK)) == 3
        for text, own in ((RED_KEY, made["red"]), (SETTINGS_KEY, made["blue"])):
            assert (await sent(gateway, operation, key(text), own))[0] in LET_IN - {404}

    async def test_a_second_one_is_refused_in_each(self, tenants: Any) -> None:
        gateway, _ = tenants
        for text in (RED_KEY, BLUE_KEY, SETTINGS_KEY):
            assert (await gateway.call("POST", "/stacks", ask(), headers=key(text)))[0] == 409

    async def test_a_body_names_no_tenant(self, tenants: Any) -> None:
        gateway, _ = tenants
        status, body = await gateway.call("POST", "/stacks", ask(9, tenant="blue"), headers=key(RED_KEY))
        assert (status, body) == (400, {"error": "tenant: unknown field"})

    async def test_what_kubectl_made_is_of_the_tenant_it_names(self, tenants: Any, api: FakeApi) -> None:
        gateway, _ = tenants
        api.put(STACK, placed(a_stack(5, 5, name="by-hand", tenant="red")))
        path = "/stacks/uid-by-hand"
        await until(lambda: gateway.client.app[STACKS].get("uid-by-hand"))
        assert (await gateway.call("GET", path, headers=key(RED_KEY)))[0] == 200
        assert (await gateway.call("GET", path, headers=key(BLUE_KEY)))[0] == 404


async def test_two_credentials_at_once(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE}, {"red": a_key(RED_KEY, "*")})
    async with start_gateway() as gateway:
        both = bearer(good_token()) | key(RED_KEY)
        status, body = await gateway.call("GET", "/stacks", headers=both)
        assert (status, body["error"]) == (401, "Authorization, X-API-KEY: bring one of them, once")
        for twice in (("X-API-KEY", RED_KEY), ("Authorization", f"Bearer {good_token()}")):
            assert (await gateway.call("GET", "/stacks", headers=[twice, twice]))[0] == 401


async def test_a_header_goes_before_the_cookie(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE}, {"red": a_key(RED_KEY, "*")})
    async with start_gateway(anonymous=False) as gateway:
        stale = {"Cookie": f"{COOKIE}=stale"}
        assert (await gateway.call("GET", "/stacks", headers=stale))[0] == 401
        assert (await gateway.call("GET", "/stacks", headers=stale | key(RED_KEY)))[0] == 200
        fine = {"Cookie": f"{COOKIE}={good_token()}"}
        assert (await gateway.call("GET", "/stacks", headers=fine | key("bad")))[0] == 401


async def test_the_cookie_is_good_for_looking_alone(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE})
    cookie = {"Cookie": f"other=1; {COOKIE}={good_token()}; more=2"}
    api.put(STACK, placed(a_stack()))
    answer_with(api, placed)
    async with start_gateway(anonymous=False) as gateway:
        assert (await gateway.call("GET", "/stacks", headers=cookie))[0] == 200
        async with gateway.client.head("/stacks", headers=cookie) as head:
            assert head.status == 200
        for method, path in (("POST", "/stacks"), ("DELETE", "/stacks/uid-1-2"), ("PUT", "/stacks"), ("PATCH", "/x")):
            status, body = await gateway.call(method, path, ask() if method == "POST" else None, headers=cookie)
            assert (status, body["error" if path != "/x" else "detail"]) == (401, MISSING)
        override = cookie | {"X-HTTP-Method-Override": "GET", "X-Method-Override": "GET"}
        assert (await gateway.call("DELETE", "/stacks/uid-1-2", headers=override))[0] == 401
        assert api.names(STACK) == ["stack-1-2"]


async def test_anonymous_or_not(start_gateway: StartGateway, api: FakeApi) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 200),
        ({"anonymous": True}, 200),
        ({"anonymous": False}, 401),
        ({"api_key": SETTINGS_KEY}, 401),
        ({"api_key": SETTINGS_KEY, "anonymous": True}, 200),
        ({"host": "0.0.0.0"}, 401),
        ({"host": "::"}, 401),
        ({"host": "0.0.0.0", "anonymous": True}, 200),
        ({"host": "0.0.0.0", "anonymous": False}, 401),
        ({"host": "::1"}, 200),
        ({"host": "slipway.example"}, 401),
        ({"host": ""}, 401),
    ]
    for settings, code in cases:
        async with start_gateway(**settings) as gateway:
            assert (await gateway.call("GET", "/stacks"))[0] == code, settings
            assert (await gateway.call("GET", "/healthz"))[0] == 200


ORIGINS = [
    ("http://slipway.example", 200),
    ("https://slipway.example", 200),
    ("https://SLIPWAY.example", 200),
    ("https://slipway.example:8443", 403),
    ("https://slipway.example.evil.example", 403),
    ("https://slipway.example@evil.example", 403),
    ("https://evil.example", 403),
    ("http://localhost", 403),
    ("null", 403),
    ("", 403),
    ("http://[", 403),
]


@pytest.mark.parametrize(("origin", "code"), ORIGINS)
async def test_off_loopback_only_the_hosts_own_pages_may_call_without_credentials(
    start_gateway: StartGateway, api: FakeApi, origin: str, code: int
) -> None:
    let_in(api, keys={"red": a_key(RED_KEY, "*")})
    async with start_gateway(host="0.0.0.0", anonymous=True) as gateway:
        headers = {"Host": "slipway.example", "Origin": origin}
        assert (await gateway.call("GET", "/stacks", headers=headers))[0] == code
        assert (await gateway.call("GET", "/stacks", headers=headers | key(RED_KEY)))[0] == 200
        assert (await gateway.call("GET", "/stacks", headers={"Host": "slipway.example"}))[0] == 200


async def test_a_good_key_needs_no_local_host(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, keys={"red": a_key(RED_KEY, "*")})
    async with start_gateway() as gateway:
        foreign = {"Host": "slipway.example", "Origin": "https://page.example"}
        assert (await gateway.call("GET", "/stacks", headers=foreign))[0] == 403
        assert (await gateway.call("GET", "/stacks", headers=foreign | key(RED_KEY)))[0] == 200


async def test_metrics_are_for_this_machine_or_a_key(
    start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer, tenants = "a key that sees all", "a key of one tenant"
    keys = {"weak": a_key(WEAK_KEY), "seer": a_key(seer, "stack:list"), "tenants": a_key(tenants, "*", tenant="red")}
    let_in(api, keys=keys)

    async def status(gateway: Gateway, headers: dict[str, str]) -> int:
        async with gateway.client.get("/metrics", headers=headers) as response:
            return response.status

    async with start_gateway(host="0.0.0.0", anonymous=True) as gateway:
        assert await status(gateway, {}) == 200
        assert await status(gateway, {"Host": "rebound.example"}) == 403
        assert await status(gateway, key("bad")) == 401
        monkeypatch.setattr("aiohttp.web.Request.remote", "10.1.2.3")
        assert await status(gateway, {}) == 401
        assert await status(gateway, key(WEAK_KEY)) == 403
        assert await status(gateway, key(tenants)) == 403, "they are of all tenants"
        assert await status(gateway, key(seer)) == 200
    monkeypatch.undo()
    async with start_gateway(anonymous=False) as gateway:
        assert await status(gateway, {}) == 401, "a proxy on this machine calls from loopback as well"
        assert await status(gateway, key(seer)) == 200


async def test_a_new_key_works_at_once_and_a_removed_one_no_more(start_gateway: StartGateway, api: FakeApi) -> None:
    async with start_gateway(anonymous=False) as gateway:
        assert (await gateway.call("GET", "/stacks", headers=key(RED_KEY)))[0] == 401
        let_in(api, keys={"red": a_key(RED_KEY, "stack:list")})
        assert (await gateway.call("GET", "/stacks", headers=key(RED_KEY)))[0] == 200
        let_in(api)
        assert (await gateway.call("GET", "/stacks", headers=key("another")))[0] == 401
        assert (await gateway.call("GET", "/stacks", headers=key(RED_KEY)))[0] == 401


async def test_the_hash_of_a_key_is_no_key(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, keys={"red": a_key(RED_KEY, "*")})
    async with start_gateway(anonymous=False) as gateway:
        stolen = a_key(RED_KEY).sha256
        assert (await gateway.call("GET", "/stacks", headers=key(stolen)))[0] == 401


async def test_names_of_principals(start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(request: web.Request) -> list[Any]:
        seen.append(request[PRINCIPAL].name)
        return []

    monkeypatch.setattr("api_gateway.routes.stacks._seen", look)
    let_in(api, {"alice": ALICE}, {"red": a_key(RED_KEY, "stack:list")})
    async with start_gateway(api_key=SETTINGS_KEY, anonymous=True) as gateway:
        for headers in (bearer(good_token()), key(RED_KEY), key(SETTINGS_KEY), {}):
            assert (await gateway.call("GET", "/stacks", headers=headers))[0] == 200
    assert seen == ["user:alice", "key:red", "key:settings", "anonymous"]


async def test_entries_that_cannot_be_read_lock_out_no_one_else(
    start_gateway: StartGateway, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    let_in(api, keys={"red": a_key(RED_KEY, "*")})
    api.edit(SECRET, NAME, lambda s: s["data"].update({"user.bad": "bm8=", "key.bad": "%", "signing.short": "eA=="}))
    async with start_gateway(anonymous=False) as gateway:
        assert (await gateway.call("GET", "/stacks", headers=key(RED_KEY)))[0] == 200
    assert "key.bad, user.bad, signing.short" in caplog.text or "user.bad, key.bad, signing.short" in caplog.text
