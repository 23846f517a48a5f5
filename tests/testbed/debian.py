"""What the cluster needs from Debian, installed without starting or enabling any service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.progress import Progress, Step
from tests.testbed.tools import contained, follow, output, succeeds, which

# package -> a program (or file) whose presence shows that nothing needs installing, whoever provides it
NEEDS = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "nftables": "nft",  # only it can remove the empty tables that iptables leaves
    "conntrack": "conntrack",
    "iproute2": "ip",
    "openssl": "openssl",
    "docker-registry": "docker-registry",
}
IMAGE_NEEDS = {"mmdebstrap": "mmdebstrap"}
SERVICES = ("containerd", "docker-registry")
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Slipway's testbed put this here while it installs packages.\nexit 101\n"
CNI_DIRS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def missing(needs: dict[str, str]) -> list[str]:
    """The packages of `needs` whose program is not there."""
    return [package for package, program in needs.items() if not _there(program)]


def ensure_packages(progress: Progress, needs: dict[str, str]) -> None:
    """Install what is missing; `ClusterError` when that would remove anything or this is no Debian."""
    remove_guard()
    wanted = missing(needs)
    if not wanted:
        return
    if not which("apt-get"):
        raise ClusterError(f"this machine lacks {', '.join(wanted)} and has no apt-get to install them")
    services = [name for name in SERVICES if name in wanted]
    with progress.step(f"installing {', '.join(wanted)}") as step, _no_services_started():
        _apt(step, wanted)
    for name in services:
        _disable(name)
    if still := missing(needs):
        raise ClusterError(f"installed, but not found: {', '.join(still)}")


def remove_guard() -> None:
    """Remove our policy file should an interrupted run have left it."""
    if POLICY.is_file() and POLICY.read_text(errors="replace") == POLICY_TEXT:
        POLICY.unlink()


def unpack(package: str, into: Path) -> None:
    """Fetch a package and unpack it into a directory; nothing is installed."""
    into.mkdir(parents=True)
    _update_if_empty()
    fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    follow(contained(fetch), on_line=lambda line: None, cwd=into)
    for archive in into.glob("*.deb"):
        output("dpkg-deb", "-x", str(archive), str(into))
        archive.unlink()


def _there(program: str) -> bool:
    if program.startswith("/"):
        name = Path(program).name
        return any((directory / name).exists() for directory in CNI_DIRS)
    return which(program) is not None


def _apt(step: Step, packages: list[str]) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    # A dpkg that was interrupted before refuses everything until this is done.
    follow(["dpkg", "--configure", "-a"], on_line=step.note, env=env)
    _update_if_empty()
    # --no-remove: rather fail than replace another vendor's containerd. Not contained: a package
    # manager must not be killed half-way; it goes on by itself and the next run waits for its lock.
    options = ["-q", "-y", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=600"]
    install = ["apt-get", "install", *options, *packages]
    try:
        follow(install, on_line=step.note, env=env)
    except ClusterError:
        # An old package list names files that the mirror no longer has.
        follow(["apt-get", "update", "-q"], on_line=step.note)
        follow(install, on_line=step.note, env=env)


def _update_if_empty() -> None:
    if not output("apt-get", "indextargets", "Created-By: Packages", "--format", "$(FILENAME)").split():
        raise ClusterError("apt knows no package sources (see /etc/apt)")
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        follow(["apt-get", "update", "-q"], on_line=lambda line: None)


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Debian's own way to install without starting: a policy file, unless the machine has one already."""
    if not POLICY.exists():
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        remove_guard()


def _disable(service: str) -> None:
    """Keep the next boot from starting it, too."""
    if which("systemctl"):
        succeeds("systemctl", "disable", "--quiet", service)
    elif which("update-rc.d"):
        succeeds("update-rc.d", service, "disable")
