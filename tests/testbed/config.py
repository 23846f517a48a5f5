"""The programs' configuration files, from the templates beside this module."""

from __future__ import annotations

from pathlib import Path
from string import Template

from tests.testbed.debian import CNI_DIRS
from tests.testbed.errors import ClusterError
from tests.testbed.files import write_whole
from tests.testbed.host import NETWORK_NAME, filesystem, may_lower_oom_score
from tests.testbed.images import PAUSE
from tests.testbed.paths import TEMPLATES, Paths
from tests.testbed.plan import CGROUP, NODE, Plan

CNI_PLUGINS = ("bridge", "host-local", "portmap", "loopback")
RESOLVED = Path("/run/systemd/resolve/resolv.conf")
RESOLV_CONF = Path("/etc/resolv.conf")
# kubelet makes a socket below its directory; a longer path the kernel refuses.
LONGEST_SOCKET = 107


def write_configs(paths: Paths, plan: Plan) -> None:
    """Write every configuration file that is not there as it should be."""
    _check_length(paths)
    node = {
        "authority": str(paths.pki("ca.crt")),
        "socket": str(paths.containerd_socket),
        "cgroup": CGROUP,
        "resolv_conf": str(resolv_conf()),
        "resolvers": ", ".join(f'"{address}"' for address in nameservers(resolv_conf().read_text())),
        "pod_logs": str(paths.data("pod-logs")),
        "plugins": str(paths.data("volume-plugins")),
    }
    files: dict[str, tuple[Path, dict[str, str]]] = {
        "registry.yaml": (
            paths.config("registry.yaml"),
            {"root": str(paths.data("registry")), "address": plan.registry},
        ),
        "hosts.toml": (paths.state / "hosts" / "_default" / "hosts.toml", {"registry": plan.registry}),
        "containerd.toml": (paths.config("containerd.toml"), _containerd(paths)),
        "cni.conflist": (paths.state / "cni" / "conf" / "10-slipway.conflist", _cni(paths, plan)),
        "kubelet.yaml": (paths.config("kubelet.yaml"), node | _ports(plan, "kubelet")),
        "kube-proxy.yaml": (
            paths.config("kube-proxy.yaml"),
            {
                "node": NODE,
                "kubeconfig": str(paths.config("kube-proxy.kubeconfig")),
                "pods": plan.pods,
                "gateway": plan.gateway,
                **_ports(plan, "kube-proxy"),
            },
        ),
        "kube-scheduler.yaml": (
            paths.config("kube-scheduler.yaml"),
            {"kubeconfig": str(paths.config("kube-scheduler.kubeconfig"))},
        ),
    }
    for name, (target, values) in files.items():
        write_whole(target, Template((TEMPLATES / name).read_text()).substitute(values))
    _link_cni_plugins(paths)


def resolv_conf() -> Path:
    """A resolver configuration that also works in a pod: none that names loopback."""
    if "127.0.0.53" in RESOLV_CONF.read_text() and RESOLVED.exists():
        return RESOLVED
    return RESOLV_CONF


def nameservers(text: str) -> list[str]:
    """The first three resolvers of a resolv.conf, as many as a pod may have."""
    found = [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"] and words[1:]]
    return found[:3]


def _containerd(paths: Paths) -> dict[str, str]:
    # Overlays do not stack on an overlay, as the root of a container is.
    stacked = filesystem(paths.repo) == "overlay"
    return {
        "root": str(paths.data("containerd")),
        "state": str(paths.run / "containerd"),
        "socket": str(paths.containerd_socket),
        "pause": PAUSE,
        "restrict_oom": "false" if may_lower_oom_score() else "true",
        "cni_bin": str(paths.state / "cni" / "bin"),
        "cni_conf": str(paths.state / "cni" / "conf"),
        "hosts": str(paths.state / "hosts"),
        "snapshotter": "native" if stacked else "overlayfs",
        "runc_root": str(paths.run / "runc"),
    }


def _cni(paths: Paths, plan: Plan) -> dict[str, str]:
    return {
        "name": NETWORK_NAME,
        "bridge": plan.bridge,
        "mtu": str(plan.mtu),
        "pods": plan.pods,
        "gateway": plan.gateway,
        "data": str(paths.state / "cni" / "addresses"),
    }


def _ports(plan: Plan, component: str) -> dict[str, str]:
    return {"port": str(plan.ports[component]), "health_port": str(plan.ports[f"{component}-health"])}


def _link_cni_plugins(paths: Paths) -> None:
    """A directory of our own with links to the machine's plugins."""
    directory = paths.state / "cni" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    for name in CNI_PLUGINS:
        found = next((place / name for place in CNI_DIRS if (place / name).exists()), None)
        if found is None:
            raise ClusterError(f"no CNI plugin {name} in {', '.join(map(str, CNI_DIRS))}")
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(found)


def _check_length(paths: Paths) -> None:
    longest = paths.data("kubelet") / "device-plugins" / "kubelet.sock.0123456789"
    if len(str(longest)) > LONGEST_SOCKET:
        allowed = LONGEST_SOCKET - (len(str(longest)) - len(str(paths.repo)))
        raise ClusterError(f"{paths.repo}: this path is too long for kubelet's sockets; {allowed} bytes at most")
