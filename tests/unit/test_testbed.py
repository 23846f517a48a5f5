"""The testbed's choices and checks, without a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed import iptables, oci, plan, processes, state
from tests.testbed.binaries import kubernetes_version, new_enough
from tests.testbed.choose import choose, given_kubeconfig
from tests.testbed.config import nameservers
from tests.testbed.errors import ClusterError
from tests.testbed.files import sweep, whole_directory, write_whole
from tests.testbed.images import sources_from
from tests.testbed.paths import Paths
from tests.testbed.supervisor import eventually

OWN = Path("/repo/.slipway/kubeconfig")


def never() -> bool:
    raise AssertionError("Docker was asked for nothing")


@pytest.mark.parametrize(
    ("given", "recorded", "docker", "chosen"),
    [
        (Path("/k"), "kind", never, "given"),
        (Path("/k"), None, never, "given"),
        (None, "packages", never, "packages"),
        (None, "kind", never, "kind"),
        (None, None, lambda: True, "kind"),
        (None, None, lambda: False, "packages"),
    ],
)
def test_choice_order(given: Path | None, recorded: str | None, docker: object, chosen: str) -> None:
    assert callable(docker)
    assert choose(given, recorded, docker) == chosen


@pytest.mark.parametrize(
    ("option", "environ", "expected"),
    [
        ("/a", {"KUBECONFIG": "/b"}, "/a"),
        (None, {"KUBECONFIG": "/b:/c"}, "/b"),
        (None, {"KUBECONFIG": ""}, None),
        (None, {}, None),
        (None, {"KUBECONFIG": str(OWN)}, None),
        (str(OWN), {}, None),
    ],
)
def test_own_kubeconfig_is_not_a_given_one(option: str | None, environ: dict[str, str], expected: str | None) -> None:
    assert given_kubeconfig(option, environ, OWN) == (Path(expected) if expected else None)


def test_block_avoids_every_network_of_the_machine() -> None:
    taken = [ipaddress.IPv4Network(text) for text in ("10.244.3.0/24", "10.240.0.0/13", "192.0.2.0/24")]
    assert str(plan.choose_block([])) == "10.244.0.0/16"
    assert str(plan.choose_block(taken)) == "10.239.0.0/16"
    with pytest.raises(ClusterError, match="no free"):
        plan.choose_block([ipaddress.IPv4Network("10.0.0.0/8")])


def test_ports_are_the_preferred_ones_where_free_and_never_twice() -> None:
    preferred = {"a": 5000, "b": 5001, "c": 20000}
    assert plan.choose_ports(preferred, lambda port: True) == preferred
    chosen = plan.choose_ports(preferred, lambda port: port not in {5000, 5001, 20001})
    assert chosen == {"a": 20000, "b": 20002, "c": 20003}
    with pytest.raises(ClusterError, match="no free port"):
        plan.choose_ports(preferred, lambda port: False)


def test_bridge_name_is_free() -> None:
    assert plan.choose_bridge(["lo", "eth0"]) == "slipway0"
    assert plan.choose_bridge(["slipway0", "slipway1"]) == "slipway2"


def test_state_survives_its_file_and_strangers_files_are_none() -> None:
    made = state.State(
        "packages",
        "/repo",
        "boot",
        plan.Plan("10.1.0.0/22", "10.1.16.0/20", "10.1.0.1", "b0", 1400, {"etcd": 1}),
    )
    assert state.parse(state_text(made)) == made
    assert state.parse("{") is None
    assert state.parse('{"kind": "packages"}') is None
    assert state.parse("[]") is None


def state_text(made: state.State) -> str:
    return json.dumps(dataclasses.asdict(made))


def test_the_claim_stands_in_for_a_wiped_checkout_only_of_its_own(tmp_path: Path) -> None:
    mine, other = Paths(tmp_path / "mine", tmp_path / "run"), Paths(tmp_path / "other", tmp_path / "run")
    made = state.State("packages", str(mine.repo))
    state.save(mine, made)
    mine.state_file.unlink()
    assert state.load(mine) == made
    assert state.load(other) is None


def test_a_process_is_known_by_pid_and_start_time() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    assert processes.alive(processes.Record("x", os.getpid(), started, ""))
    assert not processes.alive(processes.Record("x", os.getpid(), started + 1, ""))
    assert not processes.alive(None)


def test_end_spares_a_process_that_only_got_the_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = processes.start_time(child.pid)
        assert started is not None
        processes.end([(child.pid, started + 1)], grace_s=0)
        assert child.poll() is None
        child.communicate(b"\n")
        assert child.returncode == 0


def test_marked_finds_what_carries_the_mark_and_nothing_else(tmp_path: Path) -> None:
    env = {**os.environ, processes.MARK: str(tmp_path), processes.ROLE: "etcd"}
    record = processes.spawn(
        "etcd", ["/bin/sleep", "60"], env=env, log=tmp_path / "log", directory=tmp_path, fingerprint="f"
    )
    pair = (record.pid, record.started)
    assert eventually(lambda: processes.marked(str(tmp_path)) == [pair], 5)
    assert processes.marked(str(tmp_path), "kubelet") == []
    assert processes.marked(str(tmp_path / "other")) == []
    assert processes.load(tmp_path, "etcd") == record
    processes.end([pair], grace_s=0)
    assert not processes.alive(record)


SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-OLD - [0:0]
:CNI-1 - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j DOCKER
-A POSTROUTING -s 10.244.0.9/32 -m comment --comment "name: \\"n\\" -j x" -j CNI-1
-A KUBE-SERVICES -d 10.1.2.3/32 -j CNI-1
-A KUBE-OLD -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
"""


def test_only_our_chains_and_the_jumps_into_them_are_removed() -> None:
    tables = iptables.parse(SAVED)
    assert iptables.kubernetes_chains(tables) == ["nat KUBE-SERVICES", "nat KUBE-OLD", "nat CNI-1"]
    assert iptables.removal(tables, {"nat KUBE-OLD"}).splitlines() == [
        "*nat",
        ":KUBE-SERVICES - [0:0]",
        ":CNI-1 - [0:0]",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-D POSTROUTING -s 10.244.0.9/32 -m comment --comment "name: \\"n\\" -j x" -j CNI-1',
        "-X KUBE-SERVICES",
        "-X CNI-1",
        "COMMIT",
    ]
    assert iptables.removal(iptables.parse("*filter\n:INPUT ACCEPT\nCOMMIT\n"), set()) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox:1.36", ("library/busybox", "1.36")),
        ("busybox", ("library/busybox", "latest")),
        ("docker.io/busybox:1", ("library/busybox", "1")),
        ("moby/buildkit:v1", ("moby/buildkit", "v1")),
        ("registry.k8s.io/pause:3.10", ("pause", "3.10")),
        ("127.0.0.1:5000/a/b:c", ("a/b", "c")),
        ("localhost/a", ("a", "latest")),
    ],
)
def test_repository_in_a_mirror_of_every_registry(name: str, expected: tuple[str, str]) -> None:
    assert oci.repository(name) == expected


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    made = whole_directory(tmp_path / "a")
    (made.__enter__() / "half").touch()
    with contextlib.suppress(RuntimeError):
        made.__exit__(RuntimeError, RuntimeError(), None)
    assert list(tmp_path.iterdir()) == []
    with whole_directory(tmp_path / "a") as part:
        (part / "f").touch()
    with whole_directory(tmp_path / "a"):  # somebody else was first
        pass
    assert (tmp_path / "a" / "f").exists()
    write_whole(tmp_path / "s", "secret", 0o600)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_sweep_takes_only_dead_processes_leftovers(tmp_path: Path) -> None:
    for name in (f".x.{os.getpid()}.tmp", ".x.4194999.tmp", "x.4194999.tmp"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f".x.{os.getpid()}.tmp", "x.4194999.tmp"}


def test_only_the_systems_own_sources_feed_an_image() -> None:
    lines = [
        "Debian|bookworm|u://a/|main",
        "Debian|bookworm-security|u://b/|main",
        "Debian|trixie|u://a/|main",
        "Else|bookworm|u://c/|main",
        "Debian|bookworm|u://a/|main",
    ]
    assert sources_from(lines, "bookworm") == [
        "deb u://a/ bookworm main",
        "deb u://b/ bookworm-security main",
    ]
    with pytest.raises(ClusterError, match="no sources for bookworm"):
        sources_from([], "bookworm")


def test_versions() -> None:
    assert kubernetes_version().startswith("v1.")
    assert new_enough("go version go1.24.3 linux/amd64")
    assert new_enough("go version go1.30 linux/amd64")
    assert not new_enough("go version go1.19.8 linux/amd64")
    assert not new_enough("devel")


def test_at_most_three_nameservers() -> None:
    text = "# nameserver 9.9.9.9\nnameserver 192.0.2.1\nsearch x\nnameserver\n" + "nameserver fd00::1\n" * 3
    assert nameservers(text) == ["192.0.2.1", "fd00::1", "fd00::1"]
