"""Who may call the gateway, as one Secret's data: `user.NAME`, `key.NAME`, `signing.KID`."""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slipway.api.meta import TENANT
from slipway.errors import InvalidInput

NAME = "slipway-access"
USER, KEY, SIGNING = "user.", "key.", "signing."

PERMISSIONS = (
    *("stack:create", "stack:read", "stack:list", "stack:delete", "stack:renew"),
    *("build:create", "build:list", "build:read", "build:cancel", "build:delete"),
)
WILDCARDS = ("stack:*", "build:*", "*")

KEY_PREFIX = "slw_"
SIGNING_BYTES = 32  # as long as what HS256 makes of it
SETTINGS_KEY = "settings"
"""Name of the key that SLIPWAY_API_KEY is: none in the Secret has it."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_TENANT = re.compile(TENANT)
_KID_TIME = "%Y%m%dT%H%M%S.%f"


class Grant(BaseModel):
    """What someone may do. tenant: the only one seen; "": every one. It has no default: to forget it gives nothing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    tenant: Annotated[str, Field(max_length=63, pattern=TENANT)]
    permissions: tuple[str, ...]


class User(Grant):
    """hash: of the password, as argon2 writes it."""

    hash: str

    @property
    def revision(self) -> str:
        """Changes with the record: a token is good for the one that it was given for."""
        return hashlib.sha256(json.dumps([self.hash, self.tenant, self.permissions]).encode()).hexdigest()[:16]


class Key(Grant):
    """sha256: of the key, as hex digits. Keys are random, so they need no slow hash."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class AccessTable:
    """The Secret's content. signing: key ID -> secret; IDs sort by age. unreadable: entries that are left out."""

    users: Mapping[str, User]
    keys: Mapping[str, Key]
    signing: Mapping[str, bytes]
    unreadable: tuple[str, ...] = ()

    @property
    def newest(self) -> str | None:
        """ID of the key that signs."""
        return max(self.signing, default=None)


NOBODY = AccessTable({}, {}, {})

G = TypeVar("G", bound=Grant)


def parse(data: Mapping[str, str]) -> AccessTable:
    """A Secret's `data` as a table. An entry that cannot be read is left out: it locks out no one else."""
    unreadable: list[str] = []

    def read(prefix: str, model: type[G]) -> dict[str, G]:
        found = {}
        for entry in sorted(data):
            if entry.startswith(prefix):
                try:
                    found[entry.removeprefix(prefix)] = model.model_validate_json(_bytes(data[entry]))
                except (ValidationError, ValueError):
                    unreadable.append(entry)
        return found

    users, keys, signing = read(USER, User), read(KEY, Key), {}
    for entry in sorted(e for e in data if e.startswith(SIGNING)):
        try:
            secret = _bytes(data[entry])
        except ValueError:
            secret = b""
        if len(secret) < SIGNING_BYTES:
            unreadable.append(entry)
        else:
            signing[entry.removeprefix(SIGNING)] = secret
    return AccessTable(users, keys, signing, tuple(unreadable))


def written(record: Grant) -> bytes:
    """A record as its entry holds it."""
    return record.model_dump_json().encode()


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def new_signing(table: AccessTable, now: datetime) -> tuple[str, bytes]:
    """(entry, secret) of a signing key that is newer than those of the table, whatever the clock says."""
    moment = max([now.astimezone(UTC), *(_made(kid) + timedelta(microseconds=1) for kid in table.signing)])
    return f"{SIGNING}{moment:{_KID_TIME}}-{secrets.token_hex(4)}", secrets.token_bytes(SIGNING_BYTES)


def check_name(field: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        expected = (
            "must have 1 to 63 lower-case letters, digits, dots, underscores or hyphens, a letter or digit at each end"
        )
        raise InvalidInput(field, expected)
    return name


def is_tenant(name: str) -> bool:
    return len(name) <= 63 and _TENANT.fullmatch(name) is not None


def check_tenant(field: str, name: str) -> str:
    if not is_tenant(name):
        raise InvalidInput(field, "must have at most 63 lower-case letters, digits or hyphens, no hyphen at an end")
    return name


def check_permission(field: str, name: str) -> str:
    if name not in PERMISSIONS and name not in WILDCARDS:
        raise InvalidInput(field, f"{name!a} is unknown; there are {', '.join((*PERMISSIONS, *WILDCARDS))}")
    return name


def _made(kid: str) -> datetime:
    try:
        return datetime.strptime(kid.rpartition("-")[0], _KID_TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("not base64") from error
