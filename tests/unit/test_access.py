"""Who may: the Secret's records, passwords, limits, and which keys of an issuer are taken."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api_gateway.auth import attempts, jose
from api_gateway.auth.attempts import Attempts, client_of
from api_gateway.principal import Principal
from slipway.access import passwords, records
from slipway.access.records import NOBODY, AccessTable, Key, User, is_tenant, new_key, new_signing, parse, written
from slipway.errors import InvalidInput

USER = User(hash="h", tenant="red", permissions=("stack:*",))
KEY = Key(sha256="0" * 64, tenant="", permissions=())


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_what_is_written_is_read() -> None:
    data = {"user.a": b64(written(USER)), "key.b": b64(written(KEY)), "signing.1": b64(b"x" * 32), "other": "!"}
    assert parse(data) == AccessTable({"a": USER}, {"b": KEY}, {"1": b"x" * 32})
    assert parse({}) == NOBODY
    assert parse({}).newest is None


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"hash": "h", "permissions": []}',
        b'{"tenant": "", "permissions": []}',
        b'{"hash": "h", "tenant": ""}',
        b'{"hash": "h", "tenant": null, "permissions": []}',
        b'{"hash": "h", "tenant": "RED", "permissions": []}',
        b'{"hash": "h", "tenant": "", "permissions": "*"}',
        b'{"hash": "h", "tenant": "", "permissions": [1]}',
        b'{"hash": 1, "tenant": "", "permissions": []}',
        b'{"hash": "\xff", "tenant": "", "permissions": []}',
        b"[" * 100_000,
    ],
)
def test_a_record_that_says_too_little_or_nonsense_lets_nobody_in(record: bytes) -> None:
    table = parse({"user.a": b64(record), "user.b": b64(written(USER))})
    assert (table.users, table.unreadable) == ({"b": USER}, ("user.a",))


@pytest.mark.parametrize("text", ["%", "eA", "é", b64(b"x" * 31), ""])
def test_a_signing_key_that_is_short_or_garbled_signs_nothing(text: str) -> None:
    assert parse({"signing.1": text}) == AccessTable({}, {}, {}, ("signing.1",))


def test_a_revision_changes_with_all_that_matters() -> None:
    changes: list[dict[str, Any]] = [{}, {"hash": "i"}, {"tenant": "blue"}, {"tenant": ""}, {"permissions": ()}]
    revisions = {USER.model_copy(update=change).revision for change in changes}
    assert len(revisions) == len(changes)
    assert User.model_validate_json(written(USER)).revision == USER.revision


def test_ids_of_signing_keys_sort_by_age_even_if_a_clock_is_wrong() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    table, made = NOBODY, []
    for moment in (now, now, now - timedelta(days=400), now + timedelta(seconds=1), now):
        entry, secret = new_signing(table, moment)
        kid = entry.removeprefix("signing.")
        made.append(kid)
        assert len(secret) == 32
        table = AccessTable({}, {}, dict(table.signing) | {kid: secret})
        assert table.newest == kid
    assert made == sorted(made)
    assert new_signing(AccessTable({}, {}, {"by-hand": b""}), now)[0].startswith("signing.20260101T000000.000000-")


def test_keys_are_long_and_alike_in_form_alone() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("slw_") and len(key) == 47 for key in keys)


@pytest.mark.parametrize("name", ["", "Alice", "a b", "-a", "a-", ".a", "a/b", "a\n", "é", "a" * 64, "a@b", "../a"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidInput, match="NAME: must have"):
        records.check_name("NAME", name)


@pytest.mark.parametrize("name", ["a", "7", "alice", "a.b-c_d", "a" * 63])
def test_names(name: str) -> None:
    assert records.check_name("NAME", name) == name


def test_tenants() -> None:
    assert all(is_tenant(name) for name in ("", "a", "red-1", "a" * 63))
    assert not any(is_tenant(name) for name in ("Red", "a_b", "-a", "a-", "a\n", "a" * 64, "é", " "))


def test_permissions() -> None:
    for name in ("stack:create", "build:delete", "stack:*", "*"):
        assert records.check_permission("p", name) == name
    for name in ("", "stack", "stack:", "stack:fly", "stack:create ", "*:*", "STACK:CREATE", "build"):
        with pytest.raises(InvalidInput, match="is unknown; there are stack:create"):
            records.check_permission("p", name)


@pytest.mark.parametrize(
    ("held", "asked", "may"),
    [
        ({"stack:read"}, "stack:read", True),
        ({"stack:read"}, "stack:list", False),
        ({"stack:*"}, "stack:list", True),
        ({"stack:*"}, "build:list", False),
        ({"*"}, "build:list", True),
        ({"stack"}, "stack:read", False),
        ({"s*"}, "stack:read", False),
        (set(), "stack:read", False),
    ],
)
def test_what_a_principal_may(held: set[str], asked: str, may: bool) -> None:
    assert Principal("x", permissions=frozenset(held)).may(asked) is may


def test_whom_a_principal_sees() -> None:
    assert Principal("x").sees("red")
    assert Principal("x").sees("")
    assert Principal("x", "red").sees("red")
    assert not Principal("x", "red").sees("blue")
    assert not Principal("x", "red").sees("")


def test_passwords() -> None:
    hash_ = passwords.hashed("cafe\u0301 au lait")
    assert hash_.startswith("$argon2id$")
    assert passwords.fits(hash_, "cafe\u0301 au lait")
    assert passwords.fits(hash_, "caf\u00e9 au lait"), "the same letters from another keyboard"
    assert not passwords.fits(hash_, "cafe au lait")
    assert not passwords.fits("no hash", "x")
    assert not passwords.fits(None, "x")


def test_nobodys_hash_takes_as_long_as_a_users() -> None:
    assert not PasswordHasher().check_needs_rehash(passwords.NOBODYS)


def test_attempts() -> None:
    now = 0.0
    tries = Attempts(2, clock=lambda: now)
    assert tries.wait("a", "b") == 0
    tries.failed("a", "b")
    now = 10.0
    tries.failed("a")
    assert (tries.wait("a"), tries.wait("b"), tries.wait("b", "a"), tries.wait("c")) == (50.0, 0, 50.0, 0)
    now = 60.0
    assert tries.wait("a") == 0
    tries.failed("a")
    assert tries.wait("a") == 10.0
    tries.forgive("a", "nobody")
    assert tries.wait("a") == 0


def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 100)
    tries = Attempts(1, clock=lambda: 0.0)
    for number in range(1000):
        tries.failed("attacker", f"name {number}")
    assert len(tries._failures) == 100
    assert tries.wait("attacker") == 60, "who goes on failing is not forgotten"


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.1", "client 10.0.0.1"),
        ("::ffff:10.0.0.1", "client 10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "client 2001:db8:1:2::/64"),
        ("fe80::1%eth0", "client fe80::/64"),
        (None, "client unknown"),
        ("nonsense", "client unknown"),
    ],
)
def test_clients(address: str | None, client: str) -> None:
    assert client_of(address) == client


RSA_KEY: dict[str, Any] = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
WEAK_KEY: dict[str, Any] = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
PRIVATE_KEY: dict[str, Any] = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)
EC_KEY: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
P384_KEY: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)

JWKS = [
    ({**RSA_KEY, "kid": "1"}, "RS256"),
    ({**RSA_KEY, "kid": "1", "alg": "RS256", "use": "sig"}, "RS256"),
    ({**EC_KEY, "kid": "1"}, "ES256"),
    ({**EC_KEY, "kid": "1", "alg": "ES256", "use": "sig", "key_ops": ["verify"]}, "ES256"),
    ({**RSA_KEY}, None),
    ({**RSA_KEY, "kid": ""}, None),
    ({**RSA_KEY, "kid": 1}, None),
    ({**RSA_KEY, "kid": ["1"]}, None),
    ({**RSA_KEY, "kid": "1", "use": "enc"}, None),
    ({**RSA_KEY, "kid": "1", "key_ops": ["encrypt"]}, None),
    ({**RSA_KEY, "kid": "1", "key_ops": 1}, None),
    ({**RSA_KEY, "kid": "1", "alg": "HS256"}, None),
    ({**RSA_KEY, "kid": "1", "alg": "RS512"}, None),
    ({**RSA_KEY, "kid": "1", "alg": "ES256"}, None),
    ({**RSA_KEY, "kid": "1", "alg": "none"}, None),
    ({**RSA_KEY, "kid": "1", "alg": None}, None),
    ({**RSA_KEY, "kid": "1", "n": "!"}, None),
    ({**RSA_KEY, "kid": "1", "n": 5}, None),
    ({**RSA_KEY, "kid": "1", "e": ""}, None),
    ({**WEAK_KEY, "kid": "1"}, None),
    ({**PRIVATE_KEY, "kid": "1"}, None),
    ({**P384_KEY, "kid": "1"}, None),
    ({**P384_KEY, "kid": "1", "alg": "ES256"}, None),
    ({**EC_KEY, "kid": "1", "crv": "secp256k1"}, None),
    ({**EC_KEY, "kid": "1", "y": EC_KEY["x"]}, None),
    ({"kty": "oct", "kid": "1", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}, None),
    ({"kty": "oct", "kid": "1", "alg": "RS256", "k": "eHh4"}, None),
    ({"kty": "OKP", "kid": "1", "crv": "Ed25519", "x": "eHh4"}, None),
    ({"kty": ["RSA"], "kid": "1"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("entry", "alg"), JWKS, ids=range(len(JWKS)))
def test_which_keys_of_an_issuer_are_taken(entry: dict[str, Any], alg: str | None) -> None:
    fine = {**RSA_KEY, "kid": "fine"}
    found = jose.public_keys({"keys": [entry, "x", None, 1, fine]})
    assert {kid: key.algorithm_name for kid, key in found.items()} == {"fine": "RS256"} | ({"1": alg} if alg else {})


def test_of_two_keys_with_one_id_the_first_is_taken() -> None:
    found = jose.public_keys({"keys": [{**RSA_KEY, "kid": "1"}, {**EC_KEY, "kid": "1"}]})
    assert found["1"].algorithm_name == "RS256"


@pytest.mark.parametrize("document", [None, [], "x", {}, {"keys": None}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_jwks(document: object) -> None:
    with pytest.raises(jose.BadToken):
        jose.public_keys(document)
