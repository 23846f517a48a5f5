"""Long-running processes: started apart from us, known by pid and start time, ended only when ours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.files import write_whole

# Every process we start carries this, and so do its children (the runtime's shims); its value is the state
# directory. It finds what was started in the instant before its record was written, and nothing else.
MARK = "SLIPWAY_TESTBED_STATE"
ROLE = "SLIPWAY_TESTBED_COMPONENT"
PROC = Path("/proc")

# Children of this very process, which it has to reap.
_children: set[int] = set()

NICE = 15
"""Of what yields the CPU; 19 is the most."""


@dataclass(frozen=True)
class Record:
    """A process that was started: `started` is in clock ticks since boot, `fingerprint` of what it runs."""

    name: str
    pid: int
    started: int
    fingerprint: str


def start_time(pid: int) -> int | None:
    """When a live process began, in clock ticks since boot; None for a dead one or a zombie."""
    if pid in _children:
        _reap(pid)
    try:
        # The name, in parentheses, may hold blanks: the fields are counted from its end.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(record: Record | None) -> bool:
    """Whether that very process still runs, and not another one that got its number."""
    return record is not None and start_time(record.pid) == record.started


def load(directory: Path, name: str) -> Record | None:
    """The record of a component, or None when there is none that can be read."""
    try:
        return Record(**json.loads((directory / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def spawn(
    name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path, directory: Path, fingerprint: str
) -> Record:
    """Start a program in a session of its own, log to a file, and write its record."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not subprocess, which expects to see the end of what it started. env: the working directory.
    command = ["env", "--chdir=/", *argv]
    with log.open("ab") as out, Path(os.devnull).open("rb") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, out.fileno(), number) for number in (1, 2)]
        pid = os.posix_spawnp("env", command, dict(env), file_actions=actions, setsid=True)
    _children.add(pid)
    started = start_time(pid)
    if started is None:
        raise ClusterError(f"{name} ended at once:\n{tail(log)}")
    record = Record(name, pid, started, fingerprint)
    write_whole(directory / f"{name}.json", json.dumps(asdict(record)))
    return record


def yield_cpu(pid: int) -> None:
    """Let everyone else go first: the process, just started, and all that it will start."""
    os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with contextlib.suppress(OSError):  # sessions compete as groups where the kernel has them, and processes within
        (PROC / str(pid) / "autogroup").write_text(str(NICE))


def end(records: Iterable[tuple[int, int]], grace_s: float) -> None:
    """End (pid, start time) pairs: SIGTERM, after `grace_s` SIGKILL; returns when they are gone."""
    left = [pair for pair in records if start_time(pair[0]) == pair[1]]
    plan = [(signal.SIGTERM, grace_s)] if grace_s > 0 else []
    for number, seconds in [*plan, (signal.SIGKILL, 10.0)]:
        for pid, _ in left:
            _send(pid, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = [pair for pair in left if start_time(pair[0]) == pair[1]]
        if not left:
            return
    raise ClusterError(f"processes do not end: {sorted(pid for pid, _ in left)}")


def marked(mark: str, role: str | None = None) -> list[tuple[int, int]]:
    """(pid, start time) of every live process that carries our mark, of one component if `role` is given."""
    wanted = {f"{MARK}={mark}".encode()} | ({f"{ROLE}={role}".encode()} if role else set())
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        started = start_time(int(entry.name))
        if started is not None and wanted <= set(environ):
            found.append((int(entry.name), started))
    return found


def program(pid: int) -> str:
    """The name a process was called by; empty when it is gone."""
    try:
        first = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return ""
    return Path(first.decode(errors="replace")).name


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, each cut to a readable length."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join("  " + line[:400] for line in text.splitlines()[-lines:])


def _reap(pid: int) -> None:
    try:
        gone, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # somebody else's code reaped it
        gone = pid
    if gone:
        _children.discard(pid)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
