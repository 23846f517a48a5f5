"""Which cluster: the one given, else kind where Docker works, else one built from packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.testbed import state
from tests.testbed.given import GivenCluster
from tests.testbed.interface import Cluster
from tests.testbed.kind import KindCluster
from tests.testbed.packages import PackagesCluster
from tests.testbed.paths import Paths
from tests.testbed.progress import Progress
from tests.testbed.tools import which

DOCKER_TIMEOUT_S = 10.0


def open_cluster(
    kubeconfig: Path | str | None = None, *, progress: Progress | None = None, paths: Paths | None = None
) -> Cluster:
    """The cluster to use; nothing is created yet."""
    where = paths or Paths()
    given = given_kubeconfig(kubeconfig, os.environ, where.kubeconfig)
    recorded = state.load(where)
    match choose(given, recorded.kind if recorded else None, docker_answers):
        case "given":
            assert given is not None
            return GivenCluster(given)
        case "kind":
            return KindCluster(where, progress)
        case _:
            return PackagesCluster(where, progress)


def choose(given: Path | None, recorded: str | None, docker: Callable[[], bool]) -> str:
    """given, kind or packages; a cluster that an earlier `up` recorded stays the choice until `down`."""
    if given is not None:
        return "given"
    if recorded is not None:
        return recorded
    return "kind" if docker() else "packages"


def given_kubeconfig(option: Path | str | None, environ: Mapping[str, str], own: Path) -> Path | None:
    """The kubeconfig that names somebody else's cluster; exporting the testbed's own one gives nothing."""
    if option is not None:
        candidates = [str(option)]
    else:
        candidates = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    paths = [Path(part).expanduser().absolute() for part in candidates]
    return next((path for path in paths if path.resolve() != own.resolve()), None)


def docker_answers() -> bool:
    """Whether a Docker daemon answers; a client on the PATH proves nothing, and may hang."""
    docker = which("docker")
    if docker is None:
        return False
    try:
        done = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=DOCKER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())
