"""The login: a password for a token, the same answer for every failure, and not too many of these."""

import asyncio
import threading
from typing import Any

import jwt
import pytest

from api_gateway.auth import logins
from api_gateway.auth.service import COOKIE
from slipway.access import passwords
from slipway.api.kinds import SECRET
from tests.functional.conftest import StartGateway
from tests.support import api_answers
from tests.support.access import ALICE, KID, PASSWORD, SIGNED_WITH, a_user, bearer, let_in
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway
from tests.support.logged import Log

LOGIN = "/api/v1/auth/login"
WRONG = "the user name or the password is wrong"
SHAPE = {"error", "code", "timestamp", "trace_id", "details"}


def me(username: Any = "alice", password: Any = PASSWORD, **more: Any) -> dict[str, Any]:
    return {"username": username, "password": password, **more}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for a user who is not there takes no time here."""
    monkeypatch.setattr(passwords, "NOBODYS", a_user().hash)


async def test_login(start_gateway: StartGateway, api: FakeApi) -> None:
    user = a_user("stack:list", tenant="red")
    let_in(api, {"alice": user})
    async with start_gateway(anonymous=False, token_life=120) as gateway:
        async with gateway.client.post(LOGIN, json=me()) as response:
            body = await response.json()
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-store"
        assert body == {"access_token": body["access_token"], "token_type": "bearer", "expires_in": 120}
        token = body["access_token"]
        assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": KID}
        claims = jwt.decode(token, SIGNED_WITH, ["HS256"], audience="slipway", issuer="slipway")
        assert {k: claims[k] for k in ("sub", "tenant", "permissions")} == {
            "sub": "alice",
            "tenant": "red",
            "permissions": ["stack:list"],
        }
        assert claims["exp"] - claims["iat"] == 120
        assert len(claims["jti"]) == 32
        gateway.client.session.cookie_jar.clear()
        assert (await gateway.call("GET", "/stacks", headers=bearer(token)))[0] == 200
        assert (await gateway.call("GET", "/stacks"))[0] == 401
        assert (await gateway.call("POST", LOGIN, me()))[1]["access_token"] != token, "each has a jti of its own"


async def test_the_audit_names_who_logged_in_and_nobody_who_did_not(
    start_gateway: StartGateway, api: FakeApi, log: Log
) -> None:
    let_in(api, {"alice": a_user(tenant="red")})
    async with start_gateway() as gateway:
        await gateway.call("POST", LOGIN, me())
        await gateway.call("POST", LOGIN, me(PASSWORD, "typed into the wrong field"))
    assert [(a["who"], a["tenant"], a["status"]) for a in log.audit] == [("user:alice", "red", 200), ("-", "-", 401)]
    assert PASSWORD not in log.stream.getvalue()


async def test_the_newest_key_signs(start_gateway: StartGateway, api: FakeApi) -> None:
    newer = "20270101T120000.000000-bbbbbbbb"
    let_in(api, {"alice": ALICE}, signing={newer: b"n" * 32, KID: SIGNED_WITH})
    async with start_gateway() as gateway:
        _, body = await gateway.call("POST", LOGIN, me())
        assert jwt.get_unverified_header(body["access_token"])["kid"] == newer


@pytest.mark.parametrize(
    ("proto", "secure"),
    [(None, False), ("http", False), ("https", True), ("HTTPS", True), ("https, http", True), ("http, https", False)],
)
async def test_the_cookie(start_gateway: StartGateway, api: FakeApi, proto: str | None, secure: bool) -> None:
    let_in(api, {"alice": ALICE})
    headers = {"X-Forwarded-Proto": proto} if proto else {}
    async with start_gateway(anonymous=False) as gateway:
        async with gateway.client.post(LOGIN, json=me(), headers=headers) as response:
            cookie = response.cookies[COOKIE]
            assert cookie.value == (await response.json())["access_token"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert (cookie["max-age"], bool(cookie["secure"]), cookie["domain"]) == ("3600", secure, "")
        sent = {"Cookie": f"{COOKIE}={cookie.value}"}
        assert (await gateway.call("GET", "/stacks", headers=sent))[0] == 200
        assert (await gateway.call("DELETE", "/stacks/x", headers=sent))[0] == 401


FAILURES = [
    me(password="wrong"),
    me("nobody"),
    me("Alice"),
    me("alice "),
    me("../alice"),
    me("user.alice"),
    me("x" * 256),
    me(password=ALICE.hash),
    me(password="x" * 1024),
    me(password=PASSWORD + " "),
    me(password="\u0000"),
    me(password="\ud800"),
    me("é" * 100, "💥" * 100),
]


@pytest.mark.parametrize("body", FAILURES, ids=range(len(FAILURES)))
async def test_every_failure_has_one_answer(start_gateway: StartGateway, api: FakeApi, body: dict[str, Any]) -> None:
    let_in(api, {"alice": ALICE})
    async with start_gateway() as gateway, gateway.client.post(LOGIN, json=body) as response:
        answer = await response.json()
        assert response.status == 401
        assert set(answer) == SHAPE
        assert (answer["error"], answer["code"], answer["details"]) == (WRONG, "UNAUTHORIZED", {})
        assert "Set-Cookie" not in response.headers
        assert response.headers["WWW-Authenticate"] == "Bearer"


BAD = [
    ({}, "username"),
    ({"username": "alice"}, "password"),
    (me(username=""), "username"),
    (me(password=""), "password"),
    (me(username="x" * 257), "username"),
    (me(password="secret-sauce" * 100), "password"),
    (me(username=1), "username"),
    (me(username=["alice"]), "username"),
    (me(password=None), "password"),
    (me(password=12345678), "password"),
    (me(password={"$ne": ""}), "password"),
    (me(tenant="red"), "tenant"),
    (me(username="\ud800"), "username"),
    ([], "body"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=range(len(BAD)))
async def test_a_bad_body_names_its_field_and_no_secret(
    start_gateway: StartGateway, api: FakeApi, body: Any, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    let_in(api, {"alice": ALICE})
    async with start_gateway() as gateway:
        status, answer = await gateway.call("POST", LOGIN, body)
        assert (status, set(answer)) == (400, SHAPE)
        assert answer["error"].startswith(f"{field}: ")
        assert "secret-sauce" not in answer["error"] + caplog.text


async def test_bad_credentials_beside_it_do_not_matter(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE})
    async with start_gateway(anonymous=False) as gateway:
        headers = {"Authorization": "Bearer stale", "Cookie": f"{COOKIE}=stale"}
        assert (await gateway.call("POST", LOGIN, me(), headers=headers))[0] == 200


async def test_a_user_who_was_just_added_or_changed_comes_in(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"bob": ALICE})
    async with start_gateway(login_attempts=1) as gateway:
        assert (await gateway.call("POST", LOGIN, me("bob")))[0] == 200
        let_in(api, {"alice": ALICE, "bob": a_user(password="another password")})
        assert (await gateway.call("POST", LOGIN, me()))[0] == 200
        assert (await gateway.call("POST", LOGIN, me("bob", "another password")))[0] == 200
        assert (await gateway.call("POST", LOGIN, me("bob")))[0] == 401


@pytest.mark.parametrize("secret", [False, True])
async def test_no_key_to_sign_with(start_gateway: StartGateway, api: FakeApi, secret: bool) -> None:
    if secret:
        let_in(api, {"alice": ALICE}, signing={})
    async with start_gateway() as gateway:
        for body in (me(), me(password="wrong")):
            status, answer = await gateway.call("POST", LOGIN, body)
            assert (status, answer["code"]) == (503, "INTERNAL_SERVER_ERROR")
            assert "slipway user add" in answer["error"]


async def test_logins_go_on_while_the_api_server_is_away(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE})
    async with start_gateway() as gateway:
        assert (await gateway.call("POST", LOGIN, me()))[0] == 200
        api.refuse("get", SECRET, api_answers.OVERLOADED)
        assert (await gateway.call("POST", LOGIN, me(password="wrong")))[0] == 401
        assert (await gateway.call("POST", LOGIN, me()))[0] == 200


class TestLimits:
    async def fail(self, gateway: Gateway, body: dict[str, Any]) -> tuple[int, str]:
        async with gateway.client.post(LOGIN, json=body) as response:
            answer = await response.json()
            assert set(answer) == SHAPE
            return response.status, response.headers.get("Retry-After", "")

    async def test_of_a_client(self, start_gateway: StartGateway, api: FakeApi) -> None:
        let_in(api, {"alice": ALICE})
        async with start_gateway(login_attempts=3) as gateway:
            for _ in range(10):
                assert (await gateway.call("POST", LOGIN, me()))[0] == 200, "only failures count"
            for name in ("a", "b", "c"):
                assert (await self.fail(gateway, me(name)))[0] == 401
            status, seconds = await self.fail(gateway, me("d"))
            assert status == 429
            assert 50 <= int(seconds) <= 60
            status, answer = await gateway.call("POST", LOGIN, me())
            assert (status, answer["code"]) == (429, "INVALID_REQUEST")

    async def test_of_a_name(self, start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever the tries come from; and another name is not held up."""
        let_in(api, {"alice": ALICE, "bob": ALICE})
        async with start_gateway(login_attempts=1) as gateway:
            for last in range(logins.NAME_FACTOR):
                monkeypatch.setattr("aiohttp.web.Request.remote", f"10.0.0.{last}")
                assert (await self.fail(gateway, me(password="wrong")))[0] == 401
            monkeypatch.setattr("aiohttp.web.Request.remote", "10.0.1.1")
            assert (await self.fail(gateway, me()))[0] == 429
            assert (await gateway.call("POST", LOGIN, me("bob")))[0] == 200

    async def test_many_at_once_get_no_more_tries(
        self, start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock, running, most, tried = threading.Lock(), 0, 0, 0

        def fits(_: str | None, password: str) -> bool:
            nonlocal running, most, tried
            with lock:
                running, tried = running + 1, tried + 1
                most = max(most, running)
            threading.Event().wait(0.005)
            with lock:
                running -= 1
            return False

        monkeypatch.setattr(passwords, "fits", fits)
        let_in(api, {"alice": ALICE})
        async with start_gateway(login_attempts=5) as gateway:
            answers = await asyncio.gather(
                *(self.fail(gateway, me(password=f"guess {n}")) for n in range(logins.WAITING_OF_ONE))
            )
        assert most <= logins.AT_ONCE
        assert tried < 5 + logins.AT_ONCE
        assert sorted({status for status, _ in answers}) == [401, 429]

    async def test_a_crowd_is_told_to_come_back(
        self, start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logins, "WAITING", 3)
        go = threading.Event()
        monkeypatch.setattr(passwords, "fits", lambda *_: go.wait(3))
        let_in(api, {"alice": ALICE})
        async with start_gateway() as gateway:
            crowd = [asyncio.create_task(gateway.call("POST", LOGIN, me())) for _ in range(8)]
            done, _ = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
            go.set()
            answers = await asyncio.gather(*crowd)
        assert {task.result()[0] for task in done} == {503}
        assert sorted(status for status, _ in answers) == [200] * 3 + [503] * 5
