"""What one `up` leaves for the next command: the choices, and what the machine was like before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.files import write_whole
from tests.testbed.paths import Paths
from tests.testbed.plan import Plan


@dataclass(frozen=True)
class Before:
    """The machine before the cluster, for `down` to restore."""

    sysctls: dict[str, str] = field(default_factory=dict)
    chains: list[str] = field(default_factory=list)  # "iptables nat KUBE-X": not ours to remove
    tables: list[str] = field(default_factory=list)  # "iptables nat": was in use
    missing: list[str] = field(default_factory=list)  # host directories that were not there


@dataclass(frozen=True)
class State:
    """The state file."""

    kind: str  # "kind" or "packages"
    repo: str  # whose it is
    boot: str = ""  # the kernel's boot id: after a reboot nothing of the cluster is left but files
    plan: Plan | None = None
    before: Before = field(default_factory=Before)
    extra: dict[str, Any] = field(default_factory=dict)


def boot_id() -> str:
    """The running kernel's boot id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse(text: str) -> State | None:
    """A state from its JSON; None when it is none of ours."""
    try:
        raw = json.loads(text)
        plan, before = raw.pop("plan"), raw.pop("before")
        return State(plan=Plan(**plan) if plan else None, before=Before(**before), **raw)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def read(path: Path) -> State | None:
    """The state in a file; None when there is none."""
    try:
        return parse(path.read_text())
    except OSError:
        return None


def load(paths: Paths) -> State | None:
    """This checkout's state; from the claim under /run when somebody wiped the checkout's own."""
    own = read(paths.state_file)
    if own is not None:
        return own
    claim = read(paths.claim_file)
    return claim if claim is not None and claim.repo == str(paths.repo) else None


def save(paths: Paths, state: State, targets: Iterable[Path] | None = None) -> None:
    """Write the state, the claim first: a kill in between leaves what the next command can find."""
    text = json.dumps(asdict(state), indent=2)
    for path in targets or (paths.claim_file, paths.state_file):
        write_whole(path, text)
