"""Tokens of an OpenID Connect issuer, verified with the keys that it publishes."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api_gateway.auth import jose
from api_gateway.auth.jose import BadToken
from api_gateway.auth.refreshed import Refreshed
from api_gateway.principal import Principal
from slipway.access.records import is_tenant
from slipway.errors import InvalidInput
from slipway.rules.addresses import is_loopback
from slipway.settings import Settings, variable

log = logging.getLogger(__name__)

REFRESH_SECONDS = 3600.0
RETRY_SECONDS = 30.0  # between two fetches, however many unknown kids there are
FETCH_SECONDS = 5.0
DELAYS = (0.2, 0.8)  # seconds, between the tries of one fetch
DOCUMENT_BYTES = 256 * 1024


class _Claims(BaseModel):
    """What we read of a token; its types are the issuer's promise."""

    model_config = ConfigDict(strict=True, extra="ignore")

    sub: Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,255}$")]
    tenant: Annotated[str, Field(max_length=63)]
    permissions: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=1000)] = []


class Issuer:
    """One issuer and its keys, which are read every hour, and when a token names one that is not known."""

    def __init__(self, settings: Settings) -> None:
        self._url = _checked("oidc_issuer", settings.oidc_issuer or "")
        self._jwks_url = settings.oidc_jwks_url and _checked("oidc_jwks_url", settings.oidc_jwks_url)
        self._audience = settings.oidc_audience
        self._tenant_claim = settings.oidc_tenant_claim
        self._permissions_claim = settings.oidc_permissions_claim
        self._keys: Mapping[str, jose.Key] = {}
        self._refreshed = Refreshed(self._read, RETRY_SECONDS)

    async def run(self) -> None:
        await self._refreshed.run()

    async def principal(self, token: str, kid: str) -> Principal:
        if kid not in self._keys:
            await self._refreshed.fresh()
        key = self._keys.get(kid)
        if key is None:
            raise BadToken("the token is not valid")
        return self._principal(jose.claims(token, key, self._url, self._audience))

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        """A token that names no tenant is nobody's, unless no claim is set to name it: then tenants are not in use."""
        given = {"sub": claims["sub"], "tenant": claims.get(self._tenant_claim) if self._tenant_claim else ""}
        if self._permissions_claim in claims:
            given["permissions"] = claims[self._permissions_claim]
        try:
            read = _Claims.model_validate(given)
        except ValidationError as error:
            field = {"tenant": self._tenant_claim, "permissions": self._permissions_claim}
            name = str(error.errors()[0]["loc"][0])
            raise BadToken(f"the token's claim {field.get(name, name)} is not as it must be") from error
        if not is_tenant(read.tenant):
            raise BadToken(f"the token's claim {self._tenant_claim} is no tenant")
        return Principal(f"oidc:{read.sub}", read.tenant, frozenset(read.permissions))

    async def _read(self) -> float:
        """Keys that are known stay while the issuer is away."""
        for delay in (*DELAYS, None):
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    self._keys = await self._fetch()
            except Exception as error:  # whatever an issuer answers, the gateway goes on
                trouble = error
            else:
                return REFRESH_SECONDS
            if delay is not None:
                await asyncio.sleep(delay)
        log.warning("the keys of %s cannot be read, again in %g s: %r", self._url, RETRY_SECONDS, trouble)
        return RETRY_SECONDS

    async def _fetch(self) -> dict[str, jose.Key]:
        # The environment's proxy is asked for an issuer that is far away alone.
        far = not is_loopback(urlsplit(self._url).hostname or "")
        async with aiohttp.ClientSession(trust_env=far) as session:
            keys = jose.public_keys(await _document(session, self._jwks_url or await self._discovered(session)))
        if not keys:
            raise ValueError("it publishes no key for RS256 or ES256 with a kid")
        return keys

    async def _discovered(self, session: aiohttp.ClientSession) -> str:
        found = await _document(session, self._url.rstrip("/") + "/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != self._url:
            raise ValueError("its discovery document names another issuer")
        url = found.get("jwks_uri")
        if not _is_safe(url) or (str(url).startswith("http:") and not self._url.startswith("http:")):
            raise ValueError("its discovery document's jwks_uri is no https:// URL")
        return str(url)


async def _document(session: aiohttp.ClientSession, url: str) -> object:
    """JSON of bounded size; a redirect is not followed: it may lead to where no key should come from."""
    async with session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response:
        if response.status != 200:
            raise ValueError(f"{url} answers {response.status}")
        text = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            text += chunk
            if len(text) > DOCUMENT_BYTES:
                raise ValueError(f"{url} is longer than {DOCUMENT_BYTES} bytes")
    found: object = json.loads(text)
    return found


def _checked(setting: str, url: str) -> str:
    if not _is_safe(url):
        raise InvalidInput(variable(setting), "must be an https:// URL (http:// on loopback alone)")
    return url


def _is_safe(url: object) -> bool:
    """Whether nobody on the way can change what is answered there."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
