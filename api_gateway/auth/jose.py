"""JSON Web Tokens: the only importer of PyJWT, and where its errors stop.

A key carries the one algorithm that it is for. What a token's header says only finds the key; `jku`, `x5u` and `jwk`
are never looked at.
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jwt

OWN = "HS256"
FOREIGN = ("RS256", "ES256")
LEEWAY_SECONDS = 30
REQUIRED = ["exp", "iat", "iss", "aud", "sub"]

Key = jwt.PyJWK


class BadToken(Exception):
    """A token that is not good. `str(error)` is for its bearer."""


def header(token: str) -> tuple[str, str]:
    """(alg, kid) as the token claims them."""
    try:
        found = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise BadToken("the token is not well-formed") from error
    alg, kid = found.get("alg"), found.get("kid")
    if alg not in (OWN, *FOREIGN):
        raise BadToken(f"the token's alg must be one of {', '.join((OWN, *FOREIGN))}")
    if not isinstance(kid, str) or not kid:
        raise BadToken("the token names no key: kid is required")
    return str(alg), kid


def claims(token: str, key: Key, issuer: str, audience: str) -> dict[str, Any]:
    """What a token says that this key signed, now, for this audience."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED, "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError as error:
        raise BadToken("the token has expired") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise BadToken("the token is not valid") from error


def signed(content: Mapping[str, Any], secret: bytes, kid: str) -> str:
    return jwt.encode(dict(content), own_key(secret), headers={"kid": kid})


@lru_cache(maxsize=16)
def own_key(secret: bytes) -> Key:
    return jwt.PyJWK({"kty": "oct", "alg": OWN, "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()})


def public_keys(document: object) -> dict[str, Key]:
    """The keys of a JWKS that can verify a token, by kid; of two with the same, the first. None: no JWKS at all."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadToken("must be a JSON object with a list of keys")
    found: dict[str, Key] = {}
    for entry in entries:
        key = _public_key(entry) if isinstance(entry, dict) else None
        if key:
            found.setdefault(str(key.key_id), key)
    return found


def _public_key(entry: dict[str, Any]) -> Key | None:
    alg = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    named = isinstance(entry.get("kid"), str) and entry["kid"]
    uses = entry.get("key_ops", ["verify"])
    fits = (
        entry.get("alg", alg) == alg
        and entry.get("use", "sig") == "sig"
        and isinstance(uses, list)
        and "verify" in uses
        and (alg != "ES256" or entry.get("crv") == "P-256")
    )
    if not (alg and named and fits) or "d" in entry:  # a private key that is published is nobody's secret
        return None
    try:
        (key,) = jwt.PyJWKSet([{"alg": alg} | entry]).keys
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, ArithmeticError):
        return None
    return None if key.Algorithm.check_key_length(key.key) else key
