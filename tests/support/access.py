"""Users, keys and tokens as the gateway knows them, and tokens as an attacker would make them."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from argon2 import PasswordHasher

from api_gateway.auth import jose
from slipway.access.records import KEY, NAME, SIGNING, USER, Key, User, digest, written
from slipway.api.kinds import SECRET
from slipway.api.meta import Object
from tests.support.fake_api import FakeApi

PASSWORD = "correct horse battery"
KID = "20260101T120000.000000-aaaaaaaa"
SIGNED_WITH = b"0123456789abcdef0123456789abcdef"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@cache
def cheap_hash(password: str = PASSWORD) -> str:
    """A true argon2id hash that takes no time."""
    return CHEAP.hash(password)


def a_user(*permissions: str, tenant: str = "", password: str = PASSWORD) -> User:
    return User(hash=cheap_hash(password), tenant=tenant, permissions=permissions)


def a_key(text: str, *permissions: str, tenant: str = "") -> Key:
    return Key(sha256=digest(text), tenant=tenant, permissions=permissions)


ALICE = a_user("stack:*")


def let_in(
    api: FakeApi,
    users: Mapping[str, User] = {},
    keys: Mapping[str, Key] = {},
    signing: Mapping[str, bytes] = {KID: SIGNED_WITH},
) -> None:
    """Write the Secret, or what it holds from now on."""
    entries = {f"{USER}{name}": written(user) for name, user in users.items()}
    entries |= {f"{KEY}{name}": written(key) for name, key in keys.items()}
    entries |= {f"{SIGNING}{kid}": secret for kid, secret in signing.items()}
    data = {name: base64.b64encode(value).decode() for name, value in entries.items()}
    if api.find(SECRET, NAME):
        api.edit(SECRET, NAME, lambda secret: secret.update(data=data))
    else:
        api.put(SECRET, {"metadata": {"name": NAME, "namespace": "slipway-system"}, "data": data})


def claims_of(name: str = "alice", user: User = ALICE, **changed: Any) -> Object:
    """What the login writes into a token; None takes a claim out."""
    now = int(time.time())
    content: Object = {
        "iss": "slipway",
        "aud": "slipway",
        "sub": name,
        "tenant": user.tenant,
        "permissions": list(user.permissions),
        "iat": now,
        "exp": now + 600,
        "jti": "x",
        "rev": user.revision,
    }
    return {key: value for key, value in (content | changed).items() if value is not None}


def good_token(name: str = "alice", user: User = ALICE) -> str:
    return jose.signed(claims_of(name, user), SIGNED_WITH, KID)


def forged(header: Any, content: Any, secret: bytes = SIGNED_WITH) -> str:
    """A token of any header and content, whose signature is HS256 with `secret`; empty: none."""
    signing_input = f"{encoded(header)}.{encoded(content)}"
    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signing_input}.{b64(signature)}"


def encoded(content: Any) -> str:
    return b64(content if isinstance(content, bytes) else json.dumps(content).encode())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
