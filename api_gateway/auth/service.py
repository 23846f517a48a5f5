"""Credentials that a request brings -> who it speaks for."""

import asyncio
import hmac

from aiohttp import web

from api_gateway.auth import jose
from api_gateway.auth.directory import Directory
from api_gateway.auth.jose import BadToken
from api_gateway.auth.logins import Logins
from api_gateway.auth.oidc import Issuer
from api_gateway.auth.tokens import Tokens, principal_of
from api_gateway.principal import EVERYTHING, Principal
from api_gateway.problems import Problem
from slipway.access.records import SETTINGS_KEY, digest
from slipway.cluster import Cluster
from slipway.settings import Settings

COOKIE = "slipway_token"
TOKEN_BYTES = 8000
KEY_BYTES = 1024


def unauthorized(message: str) -> Problem:
    return Problem(401, message, {"WWW-Authenticate": "Bearer"})


class Auth:
    """Keys, our own tokens, and those of the OIDC issuer if there is one. Raises InvalidInput for a bad setting."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._directory = Directory(cluster, settings.namespace)
        self._logins = Logins(self._directory, settings.login_attempts)
        self._tokens = Tokens(self._directory, settings.token_life)
        self._issuer = Issuer(settings) if settings.oidc_issuer else None
        self._settings_key = settings.api_key.get_secret_value().encode() if settings.api_key else None

    async def run(self) -> None:
        """Keep what it knows fresh, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._directory.run())
            if self._issuer:
                tasks.create_task(self._issuer.run())

    async def login(self, address: str | None, name: str, password: str) -> tuple[str, Principal]:
        """A token, and for whom. Raises Problem 401, 429 or 503."""
        user = await self._logins.user(address, name, password)
        token = self._tokens.issue(name, user)
        if token is None:
            raise Problem(503, "there is no key to sign tokens with: `slipway signing rotate` makes one")
        return token, principal_of(name, user)

    async def principal(self, request: web.Request) -> Principal | None:
        """Who it is; None: it brings no credentials. Bad ones are 401.

        A browser sends the cookie by itself, so it counts only for what changes nothing, and a header goes before it.
        """
        tokens, keys = (request.headers.getall(name, []) for name in ("Authorization", "X-API-KEY"))
        if len(tokens) + len(keys) > 1:
            raise unauthorized("Authorization, X-API-KEY: bring one of them, once")
        if keys:
            return await self._of_key(keys[0])
        if tokens:
            scheme, _, token = tokens[0].partition(" ")
            if scheme.lower() != "bearer":
                raise unauthorized("Authorization: must be Bearer and a token")
            return await self._of_token("Authorization", token.strip())
        cookie = request.cookies.get(COOKIE) if request.method in ("GET", "HEAD") else None
        return await self._of_token(f"Cookie {COOKIE}", cookie) if cookie else None

    async def _of_key(self, key: str) -> Principal:
        if self._settings_key and hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._settings_key):
            return Principal(f"key:{SETTINGS_KEY}", permissions=frozenset({EVERYTHING}))
        if 0 < len(key) <= KEY_BYTES:
            found = self._kept(key)
            if found is None:
                await self._directory.fresh()
                found = self._kept(key)
            if found:
                return found
        raise unauthorized("X-API-KEY: a valid API key is required")

    def _kept(self, key: str) -> Principal | None:
        hashed = digest(key)
        for name, kept in self._directory.table.keys.items():
            if hmac.compare_digest(kept.sha256, hashed):
                return Principal(f"key:{name}", kept.tenant, frozenset(kept.permissions))
        return None

    async def _of_token(self, where: str, token: str) -> Principal:
        if len(token) > TOKEN_BYTES:
            raise unauthorized(f"{where}: the token is longer than {TOKEN_BYTES} characters")
        try:
            alg, kid = jose.header(token)
            maker = self._tokens if alg == jose.OWN else self._issuer
            if maker:
                return await maker.principal(token, kid)
        except BadToken as error:
            raise unauthorized(f"{where}: {error}") from error
        raise unauthorized(f"{where}: the token is of no issuer that is known here")
