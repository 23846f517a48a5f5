"""Running other programs: they end with us, show that they live, and leave their last words in the error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.testbed.errors import ClusterError

LAST_LINES = 15
# Debian's root has these on its PATH, a login shell or a CI job may not.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """PATH with the system directories added."""
    found = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return ":".join([*found, *(d for d in SBIN if d not in found)])


def which(program: str) -> str | None:
    """Where a program lies, the system directories included."""
    return shutil.which(program, path=search_path())


def output(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> str:
    """A short command's standard output; `ClusterError` with its complaint when it fails."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=_env({})
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(argv)} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout


def succeeds(*argv: str, timeout: float = 20.0) -> bool:
    """Whether a short command ends with 0 in time."""
    try:
        output(*argv, timeout=timeout)
    except ClusterError:
        return False
    return True


def contained(argv: Sequence[str]) -> list[str]:
    """The command in a pid and mount namespace of its own that dies with this process, SIGKILL included.

    An interrupted build then leaves neither a process nor a mount. Needs root; without it, only the direct
    child dies with us.
    """
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "KILL", "--", *argv]
    ns = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    return ["setpriv", "--pdeathsig", "KILL", "--", *ns, *argv]


def follow(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long command, handing on each line it prints; `ClusterError` with the last ones when it fails."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=_env(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is ours to handle
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                last.append(line.rstrip())
                on_line(line.rstrip())
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise ClusterError(f"{argv[0]} failed ({child.returncode}):\n" + "\n".join(last))


def _env(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **extra}
