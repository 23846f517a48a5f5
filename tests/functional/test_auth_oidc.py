"""Tokens of an OpenID Connect issuer: keys that come, change and are away, and claims of every kind."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api_gateway.app import _serve
from api_gateway.auth import oidc
from api_gateway.auth.service import Auth
from api_gateway.principal import PRINCIPAL
from slipway.api.kinds import STACK
from slipway.cluster import Cluster
from slipway.errors import InvalidInput
from slipway.settings import Settings
from tests.functional.conftest import StartGateway
from tests.support.access import ALICE, bearer, claims_of, forged, good_token, let_in
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, ask, placed
from tests.support.issuer import FakeIssuer, ec_jwk, rsa_jwk, rsa_key, serving
from tests.support.objects import a_stack
from tests.support.until import until

NOW = int(time.time())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(oidc, "DELAYS", (0.001,))


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    async with serving(FakeIssuer()) as served:
        yield served


@pytest.fixture
async def gateway(start_gateway: StartGateway, api: FakeApi, issuer: FakeIssuer) -> AsyncIterator[Gateway]:
    """One that trusts the issuer, and knows alice."""
    let_in(api, {"alice": ALICE})
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url) as started:
        yield started


async def status_with(gateway: Gateway, token: str) -> int:
    status, _ = await gateway.call("GET", "/stacks", headers=bearer(token))
    return status


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1"])
async def test_a_good_token(gateway: Gateway, issuer: FakeIssuer, kid: str) -> None:
    assert await status_with(gateway, issuer.token(kid)) == 200
    assert await status_with(gateway, issuer.token(kid, aud="slipway")) == 200
    assert await status_with(gateway, good_token()) == 200, "our own are good as well"


async def test_tenant_and_permissions_are_the_tokens(
    start_gateway: StartGateway, api: FakeApi, issuer: FakeIssuer
) -> None:
    for tenant in ("red", "blue"):
        api.put(STACK, placed(a_stack(name=f"of-{tenant}", tenant=tenant)))
    headers = bearer(issuer.token())
    async with start_gateway(oidc_issuer=issuer.url) as gateway:
        _, body = await gateway.call("GET", "/stacks", headers=headers)
        assert [s["stack_id"] for s in body["stacks"]] == ["uid-of-red"]
        assert (await gateway.call("GET", "/stacks/uid-of-blue", headers=headers))[0] == 404
        assert (await gateway.call("DELETE", "/stacks/uid-of-red", headers=headers))[0] == 403
        assert (await gateway.call("POST", "/stacks", ask(), headers=headers))[0] == 403


async def test_the_name_of_the_principal(gateway: Gateway, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(request: web.Request) -> list[Any]:
        seen.append(request[PRINCIPAL])
        return []

    monkeypatch.setattr("api_gateway.routes.stacks._seen", look)
    assert await status_with(gateway, issuer.token(sub="alice")) == 200
    assert (seen[0].name, seen[0].tenant) == ("oidc:alice", "red")


CLAIMS: list[tuple[dict[str, Any], int]] = [
    ({"permissions": None}, 403),
    ({"permissions": []}, 403),
    ({"permissions": "*"}, 401),
    ({"permissions": "stack:list stack:read"}, 401),
    ({"permissions": ["stack:list", 1]}, 401),
    ({"permissions": {"stack:list": True}}, 401),
    ({"permissions": 1}, 401),
    ({"permissions": ["x" * 256]}, 401),
    ({"tenant": None}, 401),
    ({"tenant": ""}, 200),
    ({"tenant": "RED"}, 401),
    ({"tenant": "red\n"}, 401),
    ({"tenant": "a" * 64}, 401),
    ({"tenant": ["red"]}, 401),
    ({"tenant": 1}, 401),
    ({"tenant": False}, 401),
    ({"sub": None}, 401),
    ({"sub": ""}, 401),
    ({"sub": "a\nforged log line"}, 401),
    ({"sub": "x" * 256}, 401),
    ({"sub": 1}, 401),
    ({"exp": None}, 401),
    ({"exp": NOW - 60}, 401),
    ({"exp": float("inf")}, 401),
    ({"iat": None}, 401),
    ({"iat": NOW + 600}, 401),
    ({"nbf": NOW + 600}, 401),
    ({"aud": None}, 401),
    ({"aud": "other"}, 401),
    ({"aud": []}, 401),
    ({"aud": {"slipway": 1}}, 401),
    ({"iss": "slipway"}, 401),
    ({"iss": "https://other.example"}, 401),
    ({"iss": None}, 401),
]


@pytest.mark.parametrize(("changed", "code"), CLAIMS, ids=range(len(CLAIMS)))
async def test_claims(gateway: Gateway, issuer: FakeIssuer, changed: dict[str, Any], code: int) -> None:
    assert await status_with(gateway, issuer.token(**changed)) == code


async def test_an_issuer_cannot_make_our_tokens_nor_we_its(gateway: Gateway, issuer: FakeIssuer) -> None:
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    theirs = jwt.decode(issuer.token(), options={"verify_signature": False})
    bad = {
        "ours by their key": jwt.encode(claims_of(), rsa_key(), "RS256", headers={"kid": "rsa-1"}),
        "theirs by our kid": forged({"alg": "HS256", "kid": "rsa-1"}, theirs),
        "their public key as a secret": forged({"alg": "HS256", "kid": "rsa-1"}, theirs, pem),
        "ES256 with the kid of RSA": jwt.encode(theirs, rsa_key(), "RS256", headers={"kid": "ec-1"}),
        "a key they do not publish": issuer.token(name="stranger"),
        "RS512": jwt.encode(theirs, rsa_key(), "RS512", headers={"kid": "rsa-1"}),
        "PS256": jwt.encode(theirs, rsa_key(), "PS256", headers={"kid": "rsa-1"}),
        "none": forged({"alg": "none", "kid": "rsa-1"}, theirs, b""),
        "jku": jwt.encode(
            theirs, rsa_key("x"), "RS256", headers={"kid": "x", "jku": f"{issuer.url}/keys", "jwk": rsa_jwk("x", "x")}
        ),
    }
    for name, token in bad.items():
        assert await status_with(gateway, token) == 401, name


async def test_keys_are_rotated(gateway: Gateway, issuer: FakeIssuer) -> None:
    assert await status_with(gateway, issuer.token()) == 200
    issuer.keys = [rsa_jwk("rsa-2", "second")]
    assert await status_with(gateway, issuer.token("rsa-2", "second")) == 200, "an unknown kid is looked for"
    assert await status_with(gateway, issuer.token()) == 401, "a key that is published no more"


async def test_a_token_that_comes_before_the_first_keys(
    start_gateway: StartGateway, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 30.0)
    issuer.slow = asyncio.Event()
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url) as gateway:
        await until(lambda: issuer.calls)
        answer = asyncio.create_task(status_with(gateway, issuer.token()))
        assert await status_with(gateway, good_token()) == 401, "others are not held up: nobody knows alice here"
        issuer.slow.set()
        assert await answer == 200


async def test_a_gateway_that_cannot_trust_its_issuer_does_not_start(cluster: Cluster) -> None:
    with pytest.raises(InvalidInput, match="SLIPWAY_OIDC_ISSUER: must be an https:// URL"):
        await _serve(Settings(oidc_issuer="http://issuer.example"))


async def test_unknown_kids_do_not_flood_the_issuer(
    start_gateway: StartGateway, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 30.0)
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url) as gateway:
        await until(lambda: issuer.calls)
        start = time.monotonic()
        for number in range(20):
            assert await status_with(gateway, issuer.token(f"rsa-x{number}")) == 401
        assert issuer.calls == 1
        assert time.monotonic() - start < 2, "nobody waits for a fetch that is half a minute away"


AWAY = [
    web.Response(status=500),
    web.Response(status=404),
    web.Response(status=302, headers={"Location": "/redirected"}),
    web.Response(body=b"<html>"),
    web.Response(body=b"[]"),
    web.Response(body=b'{"keys": []}'),
    web.Response(body=b'{"keys": [{"kty": "oct", "kid": "rsa-1", "k": "eHh4"}]}'),
    web.Response(body=b" " * oidc.DOCUMENT_BYTES + json.dumps({"keys": [rsa_jwk("rsa-9")]}).encode()),
    web.Response(body=b"[" * 100_000),
]


@pytest.mark.parametrize("answer", AWAY, ids=range(len(AWAY)))
async def test_the_last_known_keys_stay(
    gateway: Gateway, issuer: FakeIssuer, answer: web.Response, caplog: pytest.LogCaptureFixture
) -> None:
    assert await status_with(gateway, issuer.token()) == 200
    issuer.answer = answer
    assert await status_with(gateway, issuer.token("rsa-9")) == 401
    await until(lambda: "cannot be read, again in" in caplog.text)
    assert await status_with(gateway, issuer.token()) == 200
    assert await status_with(gateway, good_token()) == 200
    issuer.answer, issuer.keys = None, [rsa_jwk("rsa-9")]
    assert await status_with(gateway, issuer.token("rsa-9")) == 200


async def test_an_issuer_that_is_away_from_the_start(start_gateway: StartGateway, api: FakeApi) -> None:
    let_in(api, {"alice": ALICE})
    issuer = FakeIssuer()
    async with serving(issuer):
        pass  # gone again: nothing listens there
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url) as gateway:
        assert await status_with(gateway, good_token()) == 200
        assert await status_with(gateway, issuer.token()) == 401


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": "http://issuer.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": ["x"]},
    ],
    ids=range(5),
)
async def test_a_discovery_document_that_leads_astray(
    start_gateway: StartGateway, issuer: FakeIssuer, discovery: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    issuer.discovery = discovery
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url) as gateway:
        await until(lambda: "cannot be read, again in" in caplog.text)
        assert await status_with(gateway, issuer.token()) == 401
        assert issuer.calls == 0


async def test_keys_from_where_the_setting_says(start_gateway: StartGateway, issuer: FakeIssuer) -> None:
    issuer.discovery = {"issuer": "https://other.example"}
    elsewhere = issuer.url.replace("/realm", "/elsewhere")
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url, oidc_jwks_url=elsewhere) as gateway:
        assert await status_with(gateway, issuer.token()) == 200


async def test_other_claims_and_another_audience(start_gateway: StartGateway, issuer: FakeIssuer) -> None:
    issuer.keys = [ec_jwk("ec-1")]
    settings = {"oidc_audience": "ctf", "oidc_tenant_claim": "org", "oidc_permissions_claim": "https://x.example/may"}
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url, **settings) as gateway:
        claims: dict[str, Any] = {
            "aud": "ctf",
            "org": "red",
            "https://x.example/may": ["stack:list"],
            "permissions": None,
        }
        assert await status_with(gateway, issuer.token("ec-1", **claims)) == 200
        assert await status_with(gateway, issuer.token("ec-1", **(claims | {"aud": "slipway"}))) == 401
        assert await status_with(gateway, issuer.token("ec-1", **(claims | {"org": None}))) == 401


async def test_where_tenants_are_not_in_use(start_gateway: StartGateway, issuer: FakeIssuer) -> None:
    async with start_gateway(anonymous=False, oidc_issuer=issuer.url, oidc_tenant_claim="") as gateway:
        assert await status_with(gateway, issuer.token(tenant=None)) == 200


@pytest.mark.parametrize(
    "url", ["http://issuer.example", "issuer.example", "file:///x", "https://", "ftp://localhost", "http://["]
)
@pytest.mark.parametrize("setting", ["oidc_issuer", "oidc_jwks_url"])
async def test_an_issuer_that_could_be_forged_is_refused(cluster: Cluster, setting: str, url: str) -> None:
    given: dict[str, Any] = {"oidc_issuer": "https://issuer.example", setting: url}
    settings = Settings(**given)
    with pytest.raises(InvalidInput, match=f"SLIPWAY_{setting.upper()}: must be an https:// URL"):
        Auth(settings, cluster)
