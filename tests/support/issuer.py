"""An OpenID Connect issuer on loopback, with keys that it can change, and bad days."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


@cache
def rsa_key(_: str = "") -> rsa.RSAPrivateKey:
    """One for each name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(kid: str, name: str = "") -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True), "kid": kid, "alg": "RS256", "use": "sig"}


def ec_jwk(kid: str) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(ec_key().public_key(), as_dict=True), "kid": kid, "alg": "ES256", "use": "sig"}


@dataclass
class FakeIssuer:
    """keys: what it publishes. answer: in place of the JWKS. discovery: in place of its fields. calls: to the JWKS.
    slow: until then there is no answer.
    """

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [rsa_jwk("rsa-1"), ec_jwk("ec-1")])
    answer: web.Response | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    calls: int = 0
    slow: asyncio.Event | None = None

    def token(self, kid: str = "rsa-1", name: str = "", **changed: Any) -> str:
        """Signed by the issuer; None takes a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": ["other", "slipway"],
            "sub": "248289761001",
            "iat": now,
            "exp": now + 600,
            "tenant": "red",
            "permissions": ["stack:list", "stack:read", "openid"],
        }
        content = {key: value for key, value in (claims | changed).items() if value is not None}
        key, alg = (ec_key(), "ES256") if kid.startswith("ec") else (rsa_key(name), "RS256")
        return jwt.encode(content, key, alg, headers={"kid": kid})

    async def discover(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.discovery)

    async def jwks(self, _: web.Request) -> web.Response:
        self.calls += 1
        if self.slow:
            await self.slow.wait()
        if self.answer:
            return web.Response(status=self.answer.status, body=self.answer.body, headers=dict(self.answer.headers))
        return web.json_response({"keys": self.keys})

    async def stranger(self, _: web.Request) -> web.Response:
        """Where no key should come from."""
        return web.json_response({"keys": [rsa_jwk("rsa-9")]})


@asynccontextmanager
async def serving(issuer: FakeIssuer) -> AsyncIterator[FakeIssuer]:
    app = web.Application()
    app.router.add_get("/realm/.well-known/openid-configuration", issuer.discover)
    app.router.add_get("/realm/keys", issuer.jwks)
    app.router.add_get("/elsewhere", issuer.jwks)
    app.router.add_get("/redirected", issuer.stranger)
    async with TestServer(app) as server:
        issuer.url = str(server.make_url("/realm"))
        yield issuer
