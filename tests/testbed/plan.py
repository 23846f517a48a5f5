"""What `up` chooses on this machine so that it clashes with nothing: addresses, ports, names."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.testbed.errors import ClusterError
from tests.testbed.tools import output

Net = ipaddress.IPv4Network

# Outside the range that the kernel gives to outgoing connections, so none is taken between choice and use.
PREFERRED_PORTS: Mapping[str, int] = {
    "registry": 5000,
    "etcd": 2379,
    "etcd-peer": 2380,
    "kube-apiserver": 6443,
    "kube-controller-manager": 10257,
    "kube-scheduler": 10259,
    "kubelet": 10250,
    "kubelet-health": 10248,
    "kube-proxy": 10249,
    "kube-proxy-health": 10256,
}
FALLBACK_PORTS = range(20000, 29000)
CGROUP = "slipway-testbed"
NODE = "slipway-node"
NODE_PORTS = "30000-32767"


@dataclass(frozen=True)
class Plan:
    """One cluster's choices; they stay the same from the first `up` to `down`."""

    pods: str  # CIDR of pod addresses, 1,022 of them
    services: str  # CIDR of Service addresses
    gateway: str  # the bridge's address: node, registry and API server as pods see them
    bridge: str
    mtu: int  # bytes, the uplink's
    ports: dict[str, int]

    def url(self, component: str, path: str = "", scheme: str = "http") -> str:
        """A URL of one of our ports on loopback."""
        return f"{scheme}://127.0.0.1:{self.ports[component]}{path}"

    @property
    def registry(self) -> str:
        """host:port under which host, node and pods alike reach the registry."""
        return f"{self.gateway}:{self.ports['registry']}"

    @property
    def first_service(self) -> str:
        """The address that the `kubernetes` Service gets."""
        return str(ipaddress.IPv4Network(self.services)[1])


def choose_block(taken: Iterable[Net]) -> Net:
    """A /16 of 10.0.0.0/8 that overlaps none of `taken`; Kubernetes' usual ones first."""
    used = list(taken)
    for second in [244, *range(243, 100, -1)]:
        block = Net(f"10.{second}.0.0/16")
        if not any(block.overlaps(net) for net in used):
            return block
    raise ClusterError("no free /16 between 10.101.0.0 and 10.244.0.0: too many routes on this machine")


def choose_ports(preferred: Mapping[str, int], free: Callable[[int], bool]) -> dict[str, int]:
    """The preferred port where it is free, else the first free fallback; each one once."""
    chosen: dict[str, int] = {}
    for name, port in preferred.items():
        candidates = (p for p in (port, *FALLBACK_PORTS) if p not in chosen.values() and free(p))
        found = next(candidates, None)
        if found is None:
            raise ClusterError("no free port on loopback")
        chosen[name] = found
    return chosen


def choose_bridge(links: Iterable[str]) -> str:
    """A name for the bridge that no interface has."""
    taken = set(links)
    return next(name for name in (f"slipway{n}" for n in range(1000)) if name not in taken)


def make_plan() -> Plan:
    """Look at the machine and choose."""
    block = choose_block(used_networks())
    pods = next(block.subnets(new_prefix=22))
    # The second /20, so that pods and Services do not touch.
    services = list(block.subnets(new_prefix=20))[1]
    return Plan(
        pods=str(pods),
        services=str(services),
        gateway=str(pods[1]),
        bridge=choose_bridge(link["ifname"] for link in _ip("link")),
        mtu=uplink_mtu(),
        ports=choose_ports(PREFERRED_PORTS, port_free),
    )


def used_networks() -> list[Net]:
    """Every IPv4 network this machine has a route or an address in, but for the default route."""
    routes = [entry.get("dst", "default") for entry in _ip("route", "show", "table", "all")]
    addresses = [f"{a['local']}/{a['prefixlen']}" for link in _ip("addr") for a in link["addr_info"] if "local" in a]
    found = []
    for text in [*routes, *addresses]:
        try:
            net = Net(text, strict=False)
        except ValueError:  # "default", or IPv6
            continue
        if net.prefixlen:
            found.append(net)
    return found


def uplink_mtu() -> int:
    """The default route's MTU in bytes, 1500 when there is none: a bigger pod packet would be lost."""
    default = next((route["dev"] for route in _ip("route", "show", "default") if "dev" in route), None)
    return next((int(link["mtu"]) for link in _ip("link") if link["ifname"] == default), 1500)


def port_free(port: int) -> bool:
    """Whether nobody listens on a TCP port, on loopback or on any address."""
    for host in ("127.0.0.1", "0.0.0.0"):  # a probe, closed at once
        with socket.socket() as probe:
            # As servers do it: a connection that just ended does not make the port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _ip(*what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(output("ip", "-j", *what))
    return found
