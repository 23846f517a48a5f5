"""What else a node leaves on a machine: cgroups, mounts, and files in directories of fixed names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.paths import Paths
from tests.testbed.plan import CGROUP
from tests.testbed.processes import end, start_time
from tests.testbed.tools import succeeds

NETWORK_NAME = "slipway-testbed"
CAP_SYS_RESOURCE = 24
# Directories whose place the programs have built in; parents before children.
FIXED_DIRS = (
    "/run/containerd",
    "/run/containerd/s",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/log/containers",
    "/var/log/pods",
    "/run/netns",
    "/etc/cni",
    "/etc/cni/net.d",
    "/run/mount",
)


def missing_dirs() -> list[str]:
    """Those of the fixed directories that are not there now."""
    return [name for name in FIXED_DIRS if not Path(name).exists()]


def may_lower_oom_score() -> bool:
    """Whether this machine lets root make a process less likely to be killed (CAP_SYS_RESOURCE)."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> CAP_SYS_RESOURCE & 1)


def filesystem(path: Path) -> str:
    """The type of the file system that holds a path."""
    found, where = "", ""
    for mountpoint, kind in _mounts():
        inside = path == Path(mountpoint) or mountpoint == "/" or str(path).startswith(mountpoint + "/")
        if inside and len(mountpoint) >= len(where):
            found, where = kind, mountpoint
    return found


def cgroup_dirs() -> list[Path]:
    """Our top cgroup in every hierarchy that is mounted, there or not."""
    return [Path(mountpoint) / CGROUP for mountpoint, kind in _mounts() if kind in ("cgroup", "cgroup2")]


def ensure_cgroups() -> None:
    """Make the cgroup that kubelet puts its own below."""
    for directory in cgroup_dirs():
        directory.mkdir(exist_ok=True)
        controllers = directory.parent / "cgroup.subtree_control"  # version 2 only
        if controllers.exists():
            for name in (directory.parent / "cgroup.controllers").read_text().split():
                try:
                    controllers.write_text(f"+{name}")
                except OSError:  # one that cannot be handed on, as a machine without it
                    continue


def end_cgroups() -> None:
    """Kill what runs in our cgroups, which is every container, and remove them."""
    deadline = time.monotonic() + 20
    while True:
        pids = {int(pid) for top in cgroup_dirs() for file in top.rglob("cgroup.procs") for pid in _lines(file)}
        if not pids:
            break
        end([(pid, started) for pid in pids if (started := start_time(pid)) is not None], grace_s=0)
        if time.monotonic() > deadline:
            raise ClusterError(f"containers' processes do not end: {sorted(pids)}")
        time.sleep(0.02)
    for top in cgroup_dirs():
        _remove_cgroup(top)


def unmount_below(*tops: Path) -> None:
    """Unmount everything that is mounted below, the deepest first."""
    for options in ([], ["-l"]):
        found = [name for name, _ in _mounts() if any(name.startswith(f"{top}/") for top in tops)]
        for name in reversed(found):
            succeeds("umount", *options, "--", name)


def shim_sockets(paths: Paths) -> list[Path]:
    """The sockets, at a place of fixed name, of our containers' shims."""
    bundles = (paths.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address")
    return [Path(line.removeprefix("unix://")) for file in bundles for line in _lines(file)]


def remove_fixed_files(paths: Paths, sockets: Iterable[Path], missing_before: Iterable[str]) -> None:
    """Remove our files from the fixed directories, then those of them that were not there before."""
    before = list(missing_before)
    for path in [*sockets, *_ours_in_fixed_dirs(paths, before)]:
        path.unlink(missing_ok=True)
    for name in reversed(before):
        try:
            Path(name).rmdir()
        except OSError:  # not there, or somebody else put something into it meanwhile
            continue


def _ours_in_fixed_dirs(paths: Paths, missing_before: list[str]) -> Iterator[Path]:
    for result in Path("/var/lib/cni/results").glob("*"):
        # Also those of the loopback network, whose name containerd has built in.
        if f'"{paths.run}/' in _text(result):
            yield result
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(paths.state):
            yield link
    if "/var/lib/kubelet/device-plugins" in missing_before:
        yield from Path("/var/lib/kubelet/device-plugins").glob("*")


def _remove_cgroup(top: Path) -> None:
    for _ in range(50):
        for directory, _children, _files in os.walk(top, topdown=False):
            try:
                Path(directory).rmdir()
            except OSError:  # the kernel is still ending what was in it
                continue
        if not top.exists():
            return
        time.sleep(0.05)
    raise ClusterError(f"cgroup {top} cannot be removed")


def _lines(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it went away meanwhile
        return ""


def _mounts() -> list[tuple[str, str]]:
    """(mount point, file system type) in the order they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        # The kernel writes a blank as \040
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
        found.append((point, right.split()[0]))
    return found
