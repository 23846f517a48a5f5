"""Tokens: the good ones, and what attackers make of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api_gateway.auth.service import TOKEN_BYTES
from slipway.access.records import NAME
from slipway.api.kinds import SECRET
from tests.functional.conftest import StartGateway
from tests.support import api_answers
from tests.support.access import (
    ALICE,
    KID,
    SIGNED_WITH,
    a_user,
    bearer,
    claims_of,
    encoded,
    forged,
    good_token,
    let_in,
)
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway
from tests.support.until import until

HEADER = {"alg": "HS256", "typ": "JWT", "kid": KID}
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
NOW = int(time.time())
SECRET_PATH = f"/api/v1/namespaces/slipway-system/secrets/{NAME}"


@pytest.fixture
async def closed(start_gateway: StartGateway, api: FakeApi) -> AsyncIterator[Gateway]:
    """A gateway that knows alice, and lets nobody in without credentials."""
    let_in(api, {"alice": ALICE})
    async with start_gateway(anonymous=False) as gateway:
        yield gateway


async def status_with(gateway: Gateway, token: str) -> int:
    status, body = await gateway.call("GET", "/stacks", headers=bearer(token))
    assert set(body) == ({"stacks"} if status == 200 else {"error"})
    return status


async def test_a_good_token(closed: Gateway) -> None:
    assert await status_with(closed, good_token()) == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_of_any_case(closed: Gateway, scheme: str) -> None:
    assert (await closed.call("GET", "/stacks", headers={"Authorization": f"{scheme} {good_token()}"}))[0] == 200


def changed(**header: Any) -> dict[str, Any]:
    return {name: value for name, value in (HEADER | header).items() if value is not None}


def without_signature(alg: Any) -> str:
    return forged(changed(alg=alg), claims_of(), b"")


BAD = {
    "none": without_signature("none"),
    "None": without_signature("None"),
    "NONE": without_signature("NONE"),
    "nOnE": without_signature("nOnE"),
    "none-without-kid": forged({"alg": "none"}, claims_of(), b""),
    "none-signed": forged(changed(alg="none"), claims_of()),
    "alg-empty": without_signature(""),
    "alg-missing": without_signature(None),
    "alg-list": forged(changed(alg=["HS256"]), claims_of()),
    "alg-object": forged(changed(alg={"HS256": 1}), claims_of()),
    "alg-lower": forged(changed(alg="hs256"), claims_of()),
    "HS384": jwt.encode(claims_of(), SIGNED_WITH * 2, "HS384", headers={"kid": KID}),
    "HS512": jwt.encode(claims_of(), SIGNED_WITH * 2, "HS512", headers={"kid": KID}),
    "PS256": jwt.encode(claims_of(), PRIVATE, "PS256", headers={"kid": KID}),
    "RS256-with-our-kid": jwt.encode(claims_of(), PRIVATE, "RS256", headers={"kid": KID}),
    "RS256-in-name": forged(changed(alg="RS256"), claims_of()),
    "confusion": forged(HEADER, claims_of(), PEM),
    "confusion-other-kid": forged(changed(kid="issuer-1"), claims_of(), PEM),
    "other-secret": forged(HEADER, claims_of(), b"x" * 32),
    "empty-secret": forged(HEADER, claims_of(), b""),
    "secret-is-the-kid": forged(HEADER, claims_of(), KID.encode()),
    "expired": forged(HEADER, claims_of(exp=NOW - 60)),
    "iat-in-the-future": forged(HEADER, claims_of(iat=NOW + 600, exp=NOW + 900)),
    "nbf-in-the-future": forged(HEADER, claims_of(nbf=NOW + 600)),
    "no-exp": forged(HEADER, claims_of(exp=None)),
    "no-iat": forged(HEADER, claims_of(iat=None)),
    "no-sub": forged(HEADER, claims_of(sub=None)),
    "no-aud": forged(HEADER, claims_of(aud=None)),
    "no-iss": forged(HEADER, claims_of(iss=None)),
    "no-rev": forged(HEADER, claims_of(rev=None)),
    "rev-list": forged(HEADER, claims_of(rev=[ALICE.revision])),
    "exp-text": forged(HEADER, claims_of(exp="soon")),
    "exp-infinite": forged(HEADER, b'{"exp": Infinity}'),
    "exp-infinite-else-whole": forged(HEADER, claims_of(exp=float("inf"))),
    "exp-nan": forged(HEADER, claims_of(exp=float("nan"))),
    "exp-list": forged(HEADER, claims_of(exp=[NOW + 600])),
    "exp-true": forged(HEADER, claims_of(exp=True)),
    "iat-infinite": forged(HEADER, claims_of(iat=float("inf"))),
    "nbf-infinite": forged(HEADER, claims_of(nbf=float("inf"))),
    "other-audience": forged(HEADER, claims_of(aud="other")),
    "audience-list-of-others": forged(HEADER, claims_of(aud=["other", "slipway2"])),
    "audience-number": forged(HEADER, claims_of(aud=1)),
    "other-issuer": forged(HEADER, claims_of(iss="https://issuer.example")),
    "issuer-list": forged(HEADER, claims_of(iss=["slipway"])),
    "sub-number": forged(HEADER, claims_of(sub=1)),
    "sub-list": forged(HEADER, claims_of(sub=["alice"])),
    "sub-unknown": forged(HEADER, claims_of(sub="mallory")),
    "kid-missing": forged(changed(kid=None), claims_of()),
    "kid-empty": forged(changed(kid=""), claims_of()),
    "kid-null": forged({"alg": "HS256", "kid": None}, claims_of()),
    "kid-list": forged(changed(kid=[KID]), claims_of()),
    "kid-object": forged(changed(kid={"a": KID}), claims_of()),
    "kid-number": forged(changed(kid=1), claims_of()),
    "kid-path": forged(changed(kid="../../../../dev/null"), claims_of(), b""),
    "kid-path-of-ours": forged(changed(kid=f"./{KID}"), claims_of()),
    "kid-sql": forged(changed(kid="' UNION SELECT 'x' --"), claims_of(), b"x"),
    "kid-shell": forged(changed(kid="$(id)|id;`id`"), claims_of()),
    "kid-with-a-nul": forged(changed(kid=f"{KID}\0"), claims_of()),
    "kid-with-a-space": forged(changed(kid=f"{KID} "), claims_of()),
    "kid-upper": forged(changed(kid=KID.upper() + "A"), claims_of()),
    "kid-a-user": forged(changed(kid="user.alice"), claims_of(), ALICE.hash.encode()),
    "kid-long": forged(changed(kid="k" * 4000), claims_of()),
    "kid-surrogate": forged(changed(kid="\ud800"), claims_of()),
    "jku": forged(changed(kid="evil", jku="https://evil.example/jwks.json"), claims_of(), b"x" * 32),
    "x5u": forged(changed(kid="evil", x5u="https://evil.example/cert.pem"), claims_of(), b"x" * 32),
    "jwk": forged(
        changed(kid="evil", jwk={"kty": "oct", "kid": "evil", "k": encoded(b"x" * 32)}), claims_of(), b"x" * 32
    ),
    "jwk-with-our-kid": forged(
        changed(jwk={"kty": "oct", "kid": KID, "k": encoded(b"x" * 32)}), claims_of(), b"x" * 32
    ),
    "crit": forged(changed(crit=["exp"], exp=1), claims_of()),
    "detached": forged(changed(b64=False, crit=["b64"]), claims_of()),
    "header-list": forged([HEADER], claims_of()),
    "header-text": forged(b"HS256", claims_of()),
    "header-deep": forged(b'{"alg":' + b"[" * 3000, claims_of()),
    "header-digits": forged(b'{"alg":' + b"9" * 5000 + b"}", claims_of()),
    "content-list": forged(HEADER, [claims_of()]),
    "content-text": forged(HEADER, b"x"),
    "content-deep": forged(HEADER, b"[" * 4000),
    "content-digits": forged(HEADER, b'{"exp":' + b"9" * 5000 + b"}"),
    "content-not-utf-8": forged(HEADER, b'{"sub":"\xff"}'),
    "oversized": forged(HEADER, claims_of(more="x" * 5800)),
    "empty": "",
    "dots": "..",
    "one-part": "abc",
    "two-parts": ".".join(good_token().split(".")[:2]),
    "no-signature": good_token().rsplit(".", 1)[0] + ".",
    "four-parts": good_token() + ".e30",
    "twice": f"{good_token()} {good_token()}",
    "not-base64": "!!!.???.***",
    "cut": good_token()[:-1],
    "cut-in-half": good_token()[: len(good_token()) // 2],
    "one-more": good_token() + "A",
    "not-ascii": good_token() + "é",
}


def test_the_oversized_token_is_longer_than_ours_and_shorter_than_what_a_header_holds() -> None:
    assert TOKEN_BYTES < len(BAD["oversized"]) < 8180


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
async def test_a_bad_token_lets_nobody_in(closed: Gateway, token: str) -> None:
    assert await status_with(closed, token) == 401


@pytest.mark.parametrize("token", [BAD["none"], BAD["expired"], BAD["other-secret"]])
async def test_a_bad_token_is_refused_even_where_nobody_is_asked_for_one(gateway: Gateway, token: str) -> None:
    assert (await gateway.call("GET", "/stacks"))[0] == 200
    assert await status_with(gateway, token) == 401


async def test_every_bit_of_a_token_counts(closed: Gateway) -> None:
    """Payload, header and signature changed at many places: never good, and never a 500."""
    token = good_token()
    for place in range(0, len(token), 7):
        other = "A" if token[place] != "A" else "B"
        assert await status_with(closed, token[:place] + other + token[place + 1 :]) == 401, place


async def test_a_token_with_more_rights_written_into_it(closed: Gateway) -> None:
    head, _, signature = good_token().split(".")
    assert await status_with(closed, f"{head}.{encoded(claims_of(permissions=['*']))}.{signature}") == 401


async def test_a_token_beyond_what_a_header_may_hold(closed: Gateway) -> None:
    async with closed.client.get("/stacks", headers=bearer(forged(HEADER, claims_of(more="x" * 30_000)))) as response:
        assert response.status == 400


async def test_401_says_how_to_come_in(closed: Gateway) -> None:
    for headers in ({}, bearer("x"), {"X-API-KEY": "x"}):
        async with closed.client.get("/stacks", headers=headers) as response:
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_clocks_may_differ_a_little(closed: Gateway) -> None:
    assert await status_with(closed, forged(HEADER, claims_of(exp=int(time.time()) - 10))) == 200
    assert await status_with(closed, forged(HEADER, claims_of(iat=int(time.time()) + 10))) == 200


async def test_what_a_token_may_is_what_its_user_may(closed: Gateway) -> None:
    """Signed by us or not, a token's own word on tenant and permissions is never taken."""
    token = forged(HEADER, claims_of(permissions=["*"], tenant="red"))
    assert (await closed.call("POST", "/stacks", {}, headers=bearer(token)))[0] == 400, "stack:* lets it create"
    assert await status_with(closed, token) == 200


async def test_the_token_of_a_removed_user(closed: Gateway, api: FakeApi) -> None:
    assert await status_with(closed, good_token()) == 200
    let_in(api, {"bob": ALICE})
    bob = good_token("bob")
    assert await status_with(closed, bob) == 200, "a user who is not known yet is looked for at once"
    assert await status_with(closed, good_token()) == 401


async def test_the_token_of_a_user_who_was_replaced(closed: Gateway, api: FakeApi) -> None:
    after = a_user("stack:list", password="another password")
    let_in(api, {"alice": after})
    assert await status_with(closed, good_token(user=after)) == 200
    assert await status_with(closed, good_token()) == 401


async def test_rotation(closed: Gateway, api: FakeApi) -> None:
    newer, secret = "20270101T120000.000000-bbbbbbbb", b"n" * 32
    let_in(api, {"alice": ALICE}, signing={KID: SIGNED_WITH, newer: secret})
    assert await status_with(closed, forged(changed(kid=newer), claims_of(), secret)) == 200, "a new kid is looked for"
    assert await status_with(closed, good_token()) == 200, "the one before still verifies"
    let_in(api, {"alice": ALICE}, signing={newer: secret})
    assert await status_with(closed, forged(changed(kid="other"), claims_of())) == 401
    assert await status_with(closed, good_token()) == 401


@pytest.mark.parametrize("answer", [api_answers.INTERNAL, api_answers.NO_RIGHT, api_answers.NOT_FOUND])
async def test_the_last_known_users_stay_while_the_secret_cannot_be_read(
    closed: Gateway, api: FakeApi, answer: api_answers.Answer, caplog: pytest.LogCaptureFixture
) -> None:
    assert await status_with(closed, good_token()) == 200
    api.refuse("get", SECRET, answer)
    assert await status_with(closed, forged(changed(kid="unknown"), claims_of())) == 401
    assert await status_with(closed, good_token()) == 200
    assert "the last ones known stay" in caplog.text
    assert SIGNED_WITH.decode() not in caplog.text
    api.admit_all()
    let_in(api, {})
    await until(lambda: api.find(SECRET, NAME))
    assert await status_with(closed, forged(changed(kid="unknown"), claims_of())) == 401
    assert await status_with(closed, good_token()) == 401


async def test_many_unknown_keys_make_few_reads(
    start_gateway: StartGateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_gateway.auth.directory.REREAD_SECONDS", 0.2)
    let_in(api, {"alice": ALICE})
    async with start_gateway(anonymous=False) as gateway:
        unknown = forged(changed(kid="unknown"), claims_of())
        await status_with(gateway, unknown)
        before, start = len(gateway.kube[SECRET_PATH]), time.monotonic()
        assert await asyncio.gather(*(status_with(gateway, unknown) for _ in range(50))) == [401] * 50
        reads = len(gateway.kube[SECRET_PATH]) - before
        assert 1 <= reads <= (time.monotonic() - start) / 0.2 + 1
