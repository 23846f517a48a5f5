"""The cluster's own bridge and routes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.testbed.plan import Plan
from tests.testbed.tools import output, succeeds, which

PROC_SYS = Path("/proc/sys")
# What kubelet, kube-proxy and the bridge plugin change; restored by `down`.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
NEEDED = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}


def sysctls() -> dict[str, str]:
    """The present values of those that this kernel has."""
    return {name: (PROC_SYS / name).read_text().strip() for name in SYSCTLS if (PROC_SYS / name).exists()}


def set_sysctls(values: dict[str, str]) -> None:
    """Set those that differ."""
    for name, value in values.items():
        path = PROC_SYS / name
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)


def load_modules() -> None:
    """Load what may be a kernel module; where it is built in there is nothing to load."""
    for module in ("br_netfilter", "overlay"):
        if which("modprobe"):
            succeeds("modprobe", "--quiet", module)


def ensure(plan: Plan) -> None:
    """Bridge, address and route; nothing changes when they are there.

    The bridge stands before the first pod does, as node, registry and API server are reached at its address.
    """
    if not exists(plan.bridge):
        output("ip", "link", "add", plan.bridge, "mtu", str(plan.mtu), "type", "bridge")
    prefix = plan.pods.rpartition("/")[2]
    output("ip", "addr", "replace", f"{plan.gateway}/{prefix}", "dev", plan.bridge)
    output("ip", "link", "set", plan.bridge, "up")
    # A packet to a Service that no rule caught stays on this machine.
    output("ip", "route", "replace", "local", plan.services, "dev", "lo")
    set_sysctls(NEEDED)


def remove(plan: Plan) -> None:
    """Take away what `ensure` and the bridge plugin made."""
    if succeeds("ip", "route", "get", plan.first_service):
        succeeds("ip", "route", "del", "local", plan.services, "dev", "lo")
    if not exists(plan.bridge):
        return
    ports = json.loads(output("ip", "-j", "link", "show", "master", plan.bridge))
    for port in ports:
        succeeds("ip", "link", "del", port["ifname"])  # its network namespace may take it away first
    output("ip", "link", "del", plan.bridge)


def exists(link: str) -> bool:
    """Whether there is a network interface of that name."""
    return Path("/sys/class/net", link).exists()
