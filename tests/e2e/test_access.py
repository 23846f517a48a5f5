"""Who may, on a real cluster: users, keys, tokens, tenants, and a password that nobody finds again."""

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import SETTINGS
from tests.support import stacks
from tests.support.eventually import eventually
from tests.support.product import DIRECT, SYSTEM, Product, rest

PASSWORD = "correct horse battery staple"  # the one that the tests look for everywhere
SECRET = "slipway-access"  # its name


@pytest.fixture(scope="module")
def guarded(product: Product) -> Iterator[Product]:
    """A gateway that lets nobody in without credentials, and nobody whom it knows yet."""
    product.cluster.kubectl("delete", "secret", "-n", SYSTEM, SECRET, "--ignore-not-found")
    product.spawn("gateway", SETTINGS | {"SLIPWAY_ANONYMOUS": "false"})
    product.wait_ready("gateway")
    yield product
    product.cluster.kubectl("delete", "secret", "-n", SYSTEM, SECRET, "--ignore-not-found")
    product.spawn("gateway", SETTINGS)
    product.wait_ready("gateway")


def slipway(product: Product, *arguments: str, given: str = "") -> str:
    """The `slipway` command, with the rights of the cluster's admin."""
    done = subprocess.run(
        [sys.executable, "-m", "slipway.cli", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"KUBECONFIG": str(product.cluster.kubeconfig_path), "PYTHONPATH": "operator:."},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_user(product: Product, name: str, permission: str, *more: str) -> None:
    slipway(product, "user", "add", name, "--permission", permission, *more, "--password-stdin", given=PASSWORD)


def call(product: Product, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(product.gateway + path, data, given, method=method)
    try:
        with DIRECT.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def token(product: Product, name: str) -> str:
    code, answer = call(product, "POST", "/api/v1/auth/login", {"username": name, "password": PASSWORD})
    assert code == 200, answer
    return f"Bearer {answer['access_token']}"


def test_users_keys_and_tenants(guarded: Product, users: Iterator[int]) -> None:
    assert call(guarded, "GET", "/stacks")[0] == 401
    assert call(guarded, "GET", "/healthz")[0] == 200
    login = {"username": "red", "password": PASSWORD}
    assert call(guarded, "POST", "/api/v1/auth/login", login)[0] == 503, "nobody can log in yet"

    slipway(
        guarded, "user", "add", "red", "--tenant", "red", "--permission", "stack:*", "--password-stdin", given=PASSWORD
    )
    slipway(
        guarded,
        "user",
        "add",
        "blue",
        "--tenant",
        "blue",
        "--permission",
        "stack:*",
        "--password-stdin",
        given=PASSWORD,
    )
    key = slipway(guarded, "key", "add", "board", "--permission", "stack:list").strip()
    wrong = call(guarded, "POST", "/api/v1/auth/login", login | {"password": "not this one at all"})
    assert wrong[0] == 401
    assert set(wrong[1]) == {"error", "code", "timestamp", "trace_id", "details"}

    red, blue, user = token(guarded, "red"), token(guarded, "blue"), next(users)
    code, made = call(guarded, "POST", "/stacks", stacks.request(user), Authorization=red)
    assert code == 201, made
    code, other = call(guarded, "POST", "/stacks", stacks.request(user), Authorization=blue)
    assert code == 201, "the same user and problem of another tenant is another pair"
    path = f"/stacks/{made['stack_id']}"
    assert call(guarded, "GET", path, Authorization=red)[0] == 200
    for method, where in (("GET", path), ("GET", f"{path}/status"), ("POST", f"{path}/renew"), ("DELETE", path)):
        assert call(guarded, method, where, Authorization=blue)[0] == 404
    assert [s["stack_id"] for s in call(guarded, "GET", "/stacks", Authorization=blue)[1]["stacks"]] == [
        other["stack_id"]
    ]
    assert call(guarded, "GET", "/stats", X_API_KEY=key)[1]["total_stacks"] == 2, "a key of no tenant sees all"
    code, refused = call(guarded, "DELETE", path, X_API_KEY=key)
    assert (code, refused["error"]) == (403, "the permission stack:delete is missing")

    slipway(guarded, "user", "remove", "blue")
    eventually(lambda: call(guarded, "GET", "/stacks", Authorization=blue)[0] == 401)
    assert call(guarded, "DELETE", path, Authorization=red)[0] == 200


def test_the_password_is_found_nowhere(guarded: Product) -> None:
    """Not in any object of the cluster but as a hash, not in the logs of either process."""
    add_user(guarded, "seeker", "*")
    bearer = token(guarded, "seeker")
    cluster = guarded.cluster
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    everything = cluster.kubectl("get", ",".join(kinds), "-A", "-o", "json", "--ignore-not-found")
    assert SECRET in everything
    for name in ("operator", "gateway"):
        everything += guarded.log(name).read_text()
    for secret in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode(), bearer.removeprefix("Bearer ")):
        assert secret not in everything


def test_every_write_leaves_a_line(guarded: Product, users: Iterator[int]) -> None:
    slipway(
        guarded, "user", "add", "scribe", "--permission", "stack:*", "--password-stdin", "--replace", given=PASSWORD
    )
    bearer = token(guarded, "scribe")
    code, made = call(
        guarded, "POST", "/stacks", stacks.request(next(users)), Authorization=bearer, X_Request_ID="made-by-scribe"
    )
    assert code == 201
    lines = [line for line in guarded.log("gateway").read_text().splitlines() if "made-by-scribe" in line]
    assert any("user:scribe" in line and made["stack_id"] in line and "201" in line for line in lines), lines
    assert rest("GET", f"{guarded.gateway}/stacks")[0] == 401
