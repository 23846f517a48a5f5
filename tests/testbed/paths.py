"""Where things lie: state in the checkout, caches outside it, sockets under /run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent
TEMPLATES = SOURCES / "templates"

# One package-built cluster a machine: kube-proxy's iptables chains have fixed names. Sockets lie here and
# not in the checkout because a Unix socket's path may not pass 107 bytes.
RUN = Path("/run/slipway-testbed")


def cache_dir() -> Path:
    """The cache that all checkouts on this machine share: `SLIPWAY_CACHE`, else the XDG cache."""
    if own := os.environ.get("SLIPWAY_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "slipway"


@dataclass(frozen=True)
class Paths:
    """Every place one checkout's testbed writes to."""

    repo: Path = REPO
    run: Path = RUN

    @property
    def state(self) -> Path:
        """All of the cluster's files; `down` removes it."""
        return self.repo / ".slipway" / "testbed"

    @property
    def kubeconfig(self) -> Path:
        """The admin kubeconfig, mode 0600."""
        return self.repo / ".slipway" / "kubeconfig"

    @property
    def state_file(self) -> Path:
        """What `up` chose and what it found before, as JSON."""
        return self.state / "state.json"

    @property
    def claim_file(self) -> Path:
        """The same JSON where the machine's other checkouts, and this one once wiped, find it."""
        return self.run / "state.json"

    @property
    def lock_file(self) -> Path:
        """Held during `up` and `down`."""
        return self.run.with_suffix(".lock")

    @property
    def records(self) -> Path:
        """One JSON file a running component: pid, start time, fingerprint."""
        return self.state / "processes"

    @property
    def containerd_socket(self) -> Path:
        """The container runtime's socket."""
        return self.run / "containerd.sock"

    def log(self, component: str) -> Path:
        """A component's log file."""
        return self.state / "logs" / f"{component}.log"

    def config(self, name: str) -> Path:
        """A rendered configuration file."""
        return self.state / "config" / name

    def pki(self, name: str) -> Path:
        """A key or certificate."""
        return self.state / "pki" / name

    def data(self, component: str) -> Path:
        """A component's own data directory."""
        return self.state / component
