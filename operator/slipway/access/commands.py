"""`slipway user`, `slipway key`, `slipway signing`: who may call the gateway."""

import argparse
import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from slipway.access import passwords
from slipway.access.records import (
    KEY,
    SETTINGS_KEY,
    SIGNING,
    USER,
    AccessTable,
    Grant,
    Key,
    User,
    check_name,
    check_permission,
    check_tenant,
    digest,
    new_key,
    new_signing,
    written,
)
from slipway.access.secret import edit, read_or_nobody
from slipway.cluster import Cluster
from slipway.errors import InvalidInput, SlipwayError
from slipway.settings import Settings, load

if TYPE_CHECKING:  # argparse has no public name for it
    from argparse import _SubParsersAction

    Commands = _SubParsersAction[argparse.ArgumentParser]

Work = Callable[[Cluster, str, argparse.Namespace], Awaitable[None]]


def add_to(commands: "Commands") -> None:
    """The parsers; each sets `run` to what it does."""
    users = _group(commands, "user", "people who log in with a password")
    add = _action(users, "add", "let someone in; asks for the password", _add_user)
    _grants(add, "user")
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    _listing(_action(users, "list", "who may log in", _list_users))
    _action(users, "remove", "shut someone out, with all tokens", _remove_user).add_argument("name", metavar="NAME")

    keys = _group(commands, "key", "keys for programs, sent as X-API-KEY")
    _grants(_action(keys, "add", "make a key and print it, this once", _add_key), "key")
    _listing(_action(keys, "list", "which keys there are", _list_keys))
    _action(keys, "remove", "end a key", _remove_key).add_argument("name", metavar="NAME")

    signing = _group(commands, "signing", "what the tokens of the login are signed with")
    _action(signing, "rotate", "sign with a new key from now on; the previous one still verifies", _rotate)


def _group(commands: "Commands", name: str, help_: str) -> "Commands":
    return commands.add_parser(name, help=help_).add_subparsers(dest="action", required=True)


def _action(group: "Commands", name: str, help_: str, work: Work) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=help_)
    parser.set_defaults(run=lambda arguments: _run(work, arguments))
    return parser


def _grants(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--tenant", default="", help="the only tenant it sees and makes resources for; by default all")
    parser.add_argument(
        "--permission", action="append", default=[], metavar="P", help="such as stack:create, stack:* or *; repeatable"
    )
    parser.add_argument("--replace", action="store_true", help=f"also where there is such a {what} already")


def _listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _run(work: Work, arguments: argparse.Namespace) -> int:
    settings = load()
    try:
        asyncio.run(_connected(settings, work, arguments))
    except SlipwayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("error: nothing was changed", file=sys.stderr)
        return 130
    return 0


async def _connected(settings: Settings, work: Work, arguments: argparse.Namespace) -> None:
    async with Cluster.connect(settings.request_timeout) as cluster:
        await work(cluster, settings.namespace, arguments)


async def _add_user(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    tenant, permissions = _granted(arguments)
    table = await read_or_nobody(cluster, namespace)
    _refuse_second("user", arguments, table.users)
    password = _password(from_stdin=arguments.password_stdin)
    user = User(hash=passwords.hashed(password), tenant=tenant, permissions=permissions)
    signing, secret = new_signing(table, datetime.now(UTC))

    def change(table: AccessTable) -> Mapping[str, bytes | None]:
        if table.users.get(arguments.name) == user:
            return {}
        _refuse_second("user", arguments, table.users)
        return {f"{USER}{arguments.name}": written(user)} | ({} if table.signing else {signing: secret})

    await edit(cluster, namespace, change)
    print(f"user {arguments.name} may log in")


async def _add_key(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    tenant, permissions = _granted(arguments)
    if arguments.name == SETTINGS_KEY:
        raise InvalidInput("NAME", f"{SETTINGS_KEY} is the name of SLIPWAY_API_KEY: choose another one")
    text = new_key()
    key = Key(sha256=digest(text), tenant=tenant, permissions=permissions)

    def change(table: AccessTable) -> Mapping[str, bytes | None]:
        if table.keys.get(arguments.name) == key:
            return {}
        _refuse_second("key", arguments, table.keys)
        return {f"{KEY}{arguments.name}": written(key)}

    await edit(cluster, namespace, change)
    print("This is the only time that the key is shown:", file=sys.stderr)
    print(text)


async def _list_users(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    _show(await read_or_nobody(cluster, namespace), USER, as_json=arguments.json)


async def _list_keys(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    _show(await read_or_nobody(cluster, namespace), KEY, as_json=arguments.json)


async def _remove_user(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    await _remove(cluster, namespace, USER, arguments.name)


async def _remove_key(cluster: Cluster, namespace: str, arguments: argparse.Namespace) -> None:
    await _remove(cluster, namespace, KEY, arguments.name)


async def _rotate(cluster: Cluster, namespace: str, _: argparse.Namespace) -> None:
    before = await read_or_nobody(cluster, namespace)
    entry, secret = new_signing(before, datetime.now(UTC))

    def change(table: AccessTable) -> Mapping[str, bytes | None]:
        if entry.removeprefix(SIGNING) in table.signing:
            return {}
        return {entry: secret} | dict.fromkeys(f"{SIGNING}{kid}" for kid in list(table.signing)[:-1])

    await edit(cluster, namespace, change)
    print(f"tokens are signed with {entry.removeprefix(SIGNING)} from now on")


async def _remove(cluster: Cluster, namespace: str, prefix: str, name: str) -> None:
    """An entry that cannot be read is removed as well."""
    entry = f"{prefix}{name}"
    if not _has(await read_or_nobody(cluster, namespace), entry):
        raise InvalidInput("NAME", f"there is no {prefix[:-1]} {ascii(name)[1:-1]}")
    await edit(cluster, namespace, lambda table: {entry: None} if _has(table, entry) else {})
    print(f"{prefix[:-1]} {name} is gone")


def _has(table: AccessTable, entry: str) -> bool:
    present = {f"{USER}{name}" for name in table.users} | {f"{KEY}{name}" for name in table.keys}
    return entry in present or entry in table.unreadable


def _granted(arguments: argparse.Namespace) -> tuple[str, tuple[str, ...]]:
    """Tenant and permissions asked for; refuses what is no name."""
    check_name("NAME", arguments.name)
    permissions = (check_permission("--permission", name) for name in arguments.permission)
    return check_tenant("--tenant", arguments.tenant), tuple(dict.fromkeys(permissions))


def _refuse_second(what: str, arguments: argparse.Namespace, present: Mapping[str, Grant]) -> None:
    if arguments.name in present and not arguments.replace:
        raise InvalidInput("NAME", f"there is a {what} {arguments.name} already: --replace takes its place")


def _password(*, from_stdin: bool) -> str:
    """Typed twice, or the one line of standard input. It is never an argument: those are everybody's to see."""
    if from_stdin:
        password = sys.stdin.read(passwords.LONGEST + 3).removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise InvalidInput("password", "the two are not the same")
    else:
        raise InvalidInput("password", "there is no terminal to ask at: use --password-stdin")
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise InvalidInput("password", f"must have {passwords.SHORTEST} to {passwords.LONGEST} characters")
    if not password.isprintable():
        raise InvalidInput("password", "must be one line of printable characters")
    return password


def _show(table: AccessTable, prefix: str, *, as_json: bool) -> None:
    grants: Mapping[str, Grant] = table.users if prefix == USER else table.keys
    if as_json:
        rows = [{"name": n, "tenant": g.tenant, "permissions": list(g.permissions)} for n, g in grants.items()]
        print(json.dumps(rows, indent=2))
    else:
        lines = [("NAME", "TENANT", "PERMISSIONS")]
        lines += [(n, g.tenant or "(all)", ",".join(g.permissions) or "(none)") for n, g in grants.items()]
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        for name, tenant, permissions in lines:
            print(f"{name:{widths[0]}}  {tenant:{widths[1]}}  {permissions}")
    for entry in (e for e in table.unreadable if e.startswith(prefix)):
        print(f"warning: {entry} cannot be read, and lets nobody in", file=sys.stderr)
