"""`slipway user`, `key`, `signing`, against an API server; and the gateway behind it lets in whom they let in."""

import asyncio
import base64
import io
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import kmock
import pytest

from slipway.access import passwords, secret
from slipway.access.records import NAME, AccessTable, digest, parse
from slipway.api.kinds import SECRET
from slipway.cli import main
from slipway.cluster import Cluster
from tests.functional.conftest import StartGateway
from tests.support import api_answers
from tests.support.access import CHEAP
from tests.support.fake_api import FakeApi

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Slipway = Callable[..., Awaitable[Done]]


@pytest.fixture
def slipway(cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Slipway:
    """`await slipway("user", "list", stdin="…")`; the cluster is that of the fixture's kubeconfig."""
    monkeypatch.setattr(passwords, "_HASHER", CHEAP)
    monkeypatch.setenv("SLIPWAY_REQUEST_TIMEOUT", "2s")

    async def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = await asyncio.to_thread(main, arguments)
        except SystemExit as refused:
            code = refused.code if isinstance(refused.code, int) else 1
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


def table(api: FakeApi) -> AccessTable:
    return parse(api.the(SECRET)["data"])


def add_user(slipway: Slipway, name: str = "alice", *more: str, password: str = PASSWORD) -> Awaitable[Done]:
    return slipway("user", "add", name, "--password-stdin", *more, stdin=password + "\n")


async def test_a_user(slipway: Slipway, api: FakeApi) -> None:
    done = await add_user(slipway, "alice", "--tenant", "red", "--permission", "stack:*", "--permission", "build:list")
    assert (done.code, done.out, done.err) == (0, "user alice may log in\n", "")
    user = table(api).users["alice"]
    assert (user.tenant, user.permissions) == ("red", ("stack:*", "build:list"))
    assert passwords.fits(user.hash, PASSWORD)
    assert user.hash.startswith("$argon2id$")
    stored = api.the(SECRET)
    assert (stored["metadata"]["name"], stored["metadata"]["namespace"]) == (NAME, "slipway-system")
    assert PASSWORD not in "".join(base64.b64decode(value).decode("latin-1") for value in stored["data"].values())
    (signing,) = table(api).signing.values()
    assert len(signing) == 32
    assert (await add_user(slipway, "bob")).code == 0
    assert (len(table(api).users), list(table(api).signing.values())) == (2, [signing]), "one signing key is enough"


async def test_the_gateway_lets_in_whom_the_command_lets_in(
    slipway: Slipway, start_gateway: StartGateway, api: FakeApi
) -> None:
    async with start_gateway(anonymous=False) as gateway:
        login = {"username": "alice", "password": PASSWORD}
        assert (await gateway.call("POST", "/api/v1/auth/login", login))[0] == 503
        await add_user(slipway, "alice", "--permission", "stack:list")
        status, body = await gateway.call("POST", "/api/v1/auth/login", login)
        assert status == 200
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        gateway.client.session.cookie_jar.clear()
        assert (await gateway.call("GET", "/stacks", headers=bearer))[0] == 200
        for _ in range(2):
            assert (await slipway("signing", "rotate")).code == 0
        await slipway("key", "add", "ci", "--permission", "stack:list")
        key = {"X-API-KEY": (await slipway("key", "add", "ci2", "--permission", "*")).out.strip()}
        assert (await gateway.call("GET", "/stacks", headers=key))[0] == 200
        assert (await gateway.call("GET", "/stacks", headers=bearer))[0] == 401, "rotated twice"
        assert (await slipway("key", "remove", "ci2")).code == 0
        assert (await gateway.call("GET", "/stacks", headers={"X-API-KEY": "x"}))[0] == 401
        assert (await gateway.call("GET", "/stacks", headers=key))[0] == 401


async def test_a_second_one_of_a_name(slipway: Slipway, api: FakeApi) -> None:
    await add_user(slipway)
    before = table(api).users["alice"]
    done = await add_user(slipway, password="another password")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: NAME: there is a user alice already: --replace takes its place\n"
    assert table(api).users["alice"] == before
    assert (await add_user(slipway, "alice", "--replace", password="another password")).code == 0
    assert passwords.fits(table(api).users["alice"].hash, "another password")
    assert not passwords.fits(table(api).users["alice"].hash, PASSWORD)


BAD = [
    (("Alice",), PASSWORD, "NAME: must have"),
    (("a/b",), PASSWORD, "NAME: must have"),
    (("",), PASSWORD, "NAME: must have"),
    (("alice", "--tenant", "Red"), PASSWORD, "--tenant: must have"),
    (("alice", "--permission", "stack:fly"), PASSWORD, "--permission: 'stack:fly' is unknown; there are stack:create"),
    (("alice", "--permission", "\x1b[31m"), PASSWORD, "--permission: '\\x1b[31m' is unknown"),
    (("alice",), "", "password: must have 12 to 1024 characters"),
    (("alice",), "elevenchars", "password: must have 12 to 1024 characters"),
    (("alice",), "x" * 1025, "password: must have 12 to 1024 characters"),
    (("alice",), "two lines of\npassword", "password: must be one line"),
    (("alice",), "with a \x07 bell in it", "password: must be one line"),
]


@pytest.mark.parametrize(("arguments", "password", "complaint"), BAD, ids=range(len(BAD)))
async def test_what_is_refused(
    slipway: Slipway, api: FakeApi, arguments: tuple[str, ...], password: str, complaint: str
) -> None:
    done = await add_user(slipway, *arguments, password=password)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {complaint}"), done.err
    assert len(done.err.splitlines()) == 1
    assert api.names(SECRET) == [], "nothing is half-made"


@pytest.mark.parametrize("option", ["--password", "-p", "--password="])
async def test_a_password_is_no_argument(slipway: Slipway, api: FakeApi, option: str) -> None:
    done = await slipway("user", "add", "alice", option, PASSWORD)
    assert done.code != 0
    assert api.names(SECRET) == []


async def test_the_password_is_never_told(
    slipway: Slipway, api: FakeApi, kube: kmock.KubernetesScaffold, caplog: pytest.LogCaptureFixture
) -> None:
    said = [await add_user(slipway), await add_user(slipway), await slipway("user", "list", "--json")]
    api.refuse("patch", SECRET, api_answers.INTERNAL)
    said.append(await add_user(slipway, "bob"))
    everything = "".join(done.out + done.err for done in said) + caplog.text
    everything += "".join(str(request) for request in kube)
    assert PASSWORD not in everything
    assert "$argon2" not in "".join(done.out + done.err for done in said)


async def test_the_password_is_asked_for_twice(slipway: Slipway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda _: typed.pop(0))
    monkeypatch.setattr(io, "StringIO", Terminal)
    typed[:] = [PASSWORD, PASSWORD + "x"]
    done = await slipway("user", "add", "alice")
    assert (done.code, done.err) == (1, "error: password: the two are not the same\n")
    typed[:] = [PASSWORD, PASSWORD]
    assert (await slipway("user", "add", "alice")).code == 0
    assert passwords.fits(table(api).users["alice"].hash, PASSWORD)


async def test_without_a_terminal_the_password_is_not_waited_for(slipway: Slipway, api: FakeApi) -> None:
    done = await slipway("user", "add", "alice", stdin=PASSWORD)
    assert (done.code, done.err) == (
        1,
        "error: password: there is no terminal to ask at: use --password-stdin\n",
    )


async def test_a_key_is_shown_once(slipway: Slipway, api: FakeApi) -> None:
    done = await slipway("key", "add", "ci", "--permission", "stack:create", "--tenant", "red")
    key = done.out.strip()
    assert (done.code, len(key), key[:4]) == (0, 47, "slw_")
    assert "only time" in done.err
    assert table(api).keys["ci"].permissions == ("stack:create",)
    assert key not in "".join(base64.b64decode(v).decode("latin-1") for v in api.the(SECRET)["data"].values())
    assert key not in (await slipway("key", "list")).out + (await slipway("key", "list", "--json")).out
    done = await slipway("key", "add", "ci")
    assert (done.code, done.out) == (1, "")
    assert table(api).signing == {}
    assert (await slipway("key", "add", "settings")).code == 1, "that is the name of SLIPWAY_API_KEY"


async def test_lists(slipway: Slipway, api: FakeApi) -> None:
    assert (await slipway("user", "list", "--json")).out == "[]\n"
    assert (await slipway("key", "list")).out.split() == ["NAME", "TENANT", "PERMISSIONS"]
    await add_user(slipway, "bob")
    await add_user(slipway, "alice", "--tenant", "red", "--permission", "stack:*", "--permission", "*")
    assert json.loads((await slipway("user", "list", "--json")).out) == [
        {"name": "alice", "tenant": "red", "permissions": ["stack:*", "*"]},
        {"name": "bob", "tenant": "", "permissions": []},
    ]
    done = await slipway("user", "list")
    assert [line.split() for line in done.out.splitlines()] == [
        ["NAME", "TENANT", "PERMISSIONS"],
        ["alice", "red", "stack:*,*"],
        ["bob", "(all)", "(none)"],
    ]
    api.edit(SECRET, NAME, lambda s: s["data"].update({"user.carol": "bm8="}))
    done = await slipway("user", "list")
    assert "user.carol cannot be read" in done.err
    assert (await slipway("user", "remove", "carol")).code == 0
    assert (await slipway("user", "list")).err == ""


@pytest.mark.parametrize("what", ["user", "key"])
async def test_remove(slipway: Slipway, api: FakeApi, what: str) -> None:
    done = await slipway(what, "remove", "alice")
    assert (done.code, done.err) == (1, f"error: NAME: there is no {what} alice\n")
    assert api.names(SECRET) == []
    await add_user(slipway)
    await add_user(slipway, "bob")
    await slipway("key", "add", "alice")
    assert (await slipway(what, "remove", "alice")).out == f"{what} alice is gone\n"
    assert (await slipway(what, "remove", "alice")).code == 1
    left = table(api)
    assert set(left.users) == ({"bob"} if what == "user" else {"alice", "bob"})
    assert set(left.keys) == ({"alice"} if what == "user" else set())
    assert left.signing


async def test_rotation(slipway: Slipway, api: FakeApi) -> None:
    made = []
    for _ in range(4):
        assert (await slipway("signing", "rotate")).code == 0
        newest = table(api).newest
        assert newest
        made.append(newest)
        assert list(table(api).signing) == made[-2:]
    assert made == sorted(set(made))


async def test_edits_at_once_lose_nothing(slipway: Slipway, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Different names, the same name, a rotation and a removal, all at once; the Secret is not even there yet."""
    work: list[tuple[str, ...]] = [("key", "add", f"k{number}") for number in range(10)]
    work += [("key", "add", "same") for _ in range(4)] + [("signing", "rotate")]
    codes = await asyncio.gather(*(asyncio.to_thread(main, arguments) for arguments in work))
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("slw_")]
    assert Counter(codes[10:14]) == {0: 1, 1: 3}, "one of the same name wins, and the others are told"
    assert Counter(codes[:10] + codes[14:]) == {0: 11}
    found = table(api)
    assert set(found.keys) == {f"k{number}" for number in range(10)} | {"same"}
    assert {key.sha256 for key in found.keys.values()} == {digest(key) for key in printed}
    assert len(found.signing) == 1


async def test_a_create_whose_answer_is_lost_is_no_failure(
    slipway: Slipway, api: FakeApi, kube: kmock.KubernetesScaffold
) -> None:
    def made_and_lost(request: Any) -> Any:
        api.create(SECRET, request.data)
        raise api_answers.INTERNAL

    kube["post"] << made_and_lost
    done = await slipway("key", "add", "ci")
    assert done.code == 0
    assert table(api).keys["ci"].sha256 == digest(done.out.strip())


async def test_a_patch_whose_answer_is_lost_is_no_failure(
    slipway: Slipway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await slipway("key", "add", "first")
    patch = api.patch
    lost: list[Any] = []

    def once_lost(*arguments: Any) -> Any:
        made = patch(*arguments)
        if not lost:
            lost.append(made)
            raise api_answers.OVERLOADED
        return made

    monkeypatch.setattr(api, "patch", once_lost)
    done = await slipway("key", "add", "ci")
    assert lost
    assert done.code == 0
    assert table(api).keys["ci"].sha256 == digest(done.out.strip())


@pytest.mark.parametrize(
    ("verb", "answer", "told"),
    [
        ("get", api_answers.NO_RIGHT, "cannot list resource"),
        ("get", api_answers.OVERLOADED, "apiserver not ready"),
        ("create", api_answers.NO_RIGHT, "cannot list resource"),
        ("create", api_answers.NOT_FOUND, "there is no namespace slipway-system: install Slipway's manifests first"),
        ("create", api_answers.OVERLOADED, "apiserver not ready"),
    ],
    ids=range(5),
)
async def test_trouble_with_the_api_server_is_told_in_a_line(
    slipway: Slipway, api: FakeApi, verb: str, answer: api_answers.Answer, told: str
) -> None:
    api.refuse(verb, SECRET, answer)
    for done in (await add_user(slipway), await slipway("key", "add", "ci"), await slipway("signing", "rotate")):
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: ")
        assert told in done.err
        assert len(done.err.splitlines()) == 1
    assert api.names(SECRET) == []


async def test_a_secret_that_never_stands_still(
    slipway: Slipway, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret, "LONGEST_PAUSE", 0.001)
    await slipway("key", "add", "first")
    api.refuse("patch", SECRET, api_answers.MODIFIED)
    done = await slipway("key", "add", "ci")
    assert (done.code, done.out) == (1, "")
    assert "changes all the time: try again" in done.err


@pytest.mark.parametrize("content", [None, "", "{{", "kind: Config\n", "[]", "x"], ids=range(6))
async def test_no_cluster_to_connect_to(
    slipway: Slipway, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    done = await slipway("user", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no cluster to connect to: is KUBECONFIG right?"), done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("user",), ("key",), ("signing",), ("user", "add"), ("key", "remove"), ()])
async def test_half_a_command(slipway: Slipway, arguments: tuple[str, ...]) -> None:
    done = await slipway(*arguments)
    assert done.code == 2
    assert "usage: slipway" in done.err
