"""The login's own tokens."""

import secrets
import time

from api_gateway.auth import jose
from api_gateway.auth.directory import Directory
from api_gateway.auth.jose import BadToken
from api_gateway.principal import Principal
from slipway.access.records import User

ISSUER = AUDIENCE = "slipway"


def principal_of(name: str, user: User) -> Principal:
    return Principal(f"user:{name}", user.tenant, frozenset(user.permissions))


class Tokens:
    """Signed with the newest of our keys; good with any of them, while the user's record is the same.

    life: seconds.
    """

    def __init__(self, directory: Directory, life: float) -> None:
        self._directory = directory
        self._life = life

    def issue(self, name: str, user: User) -> str | None:
        """None: there is no key to sign with."""
        table = self._directory.table
        if table.newest is None:
            return None
        now = int(time.time())
        content = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": name,
            "tenant": user.tenant,
            "permissions": list(user.permissions),
            "iat": now,
            "exp": now + int(self._life),
            "jti": secrets.token_hex(16),
            "rev": user.revision,
        }
        return jose.signed(content, table.signing[table.newest], table.newest)

    async def principal(self, token: str, kid: str) -> Principal:
        if kid not in self._directory.table.signing:
            await self._directory.fresh()
        secret = self._directory.table.signing.get(kid)
        if secret is None:
            raise BadToken("the token is not valid")
        claims = jose.claims(token, jose.own_key(secret), ISSUER, AUDIENCE)
        name, revision = str(claims["sub"]), claims.get("rev")
        if not self._is_of(name, revision):
            await self._directory.fresh()
        if not self._is_of(name, revision):
            raise BadToken("the token's user is gone, or has changed: log in again")
        return principal_of(name, self._directory.table.users[name])

    def _is_of(self, name: str, revision: object) -> bool:
        user = self._directory.table.users.get(name)
        return user is not None and user.revision == revision
