"""The programs of the package-built cluster: how each is started and how one sees that it is ready."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.paths import Paths
from tests.testbed.plan import NODE, NODE_PORTS, Plan
from tests.testbed.probes import admin, answers, listens
from tests.testbed.tools import which


@dataclass(frozen=True)
class Component:
    """One program; `stage` orders the start, and those of one stage start together.

    yields: whether it leaves the CPU to the others. What starts pods would be on another machine than the control
    plane; here, as its equal, it would be what the control plane's latency is made of.
    """

    name: str
    stage: int
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    files: tuple[Path, ...] = ()
    yields: bool = False

    @property
    def fingerprint(self) -> str:
        """Changes whenever what would be started changes."""
        digest = hashlib.sha256("\0".join((*self.argv, *(["yields"] if self.yields else []))).encode())
        for file in self.files:
            digest.update(file.read_bytes() if file.exists() else b"")
        return digest.hexdigest()[:16]


def components(paths: Paths, plan: Plan, binaries: Path) -> list[Component]:
    """All programs, in the order of their start."""
    return [
        _registry(paths, plan),
        _etcd(paths, plan, binaries),
        _containerd(paths),
        _apiserver(paths, plan, binaries),
        _controller_manager(paths, plan, binaries),
        _scheduler(paths, plan, binaries),
        _kubelet(paths, plan, binaries),
        _proxy(paths, plan, binaries),
    ]


def _registry(paths: Paths, plan: Plan) -> Component:
    config = paths.config("registry.yaml")
    argv = (which("docker-registry") or "docker-registry", "serve", str(config))
    return Component("registry", 1, argv, lambda: answers(f"http://{plan.registry}/v2/"), (config,))


def _etcd(paths: Paths, plan: Plan, binaries: Path) -> Component:
    client, peer = plan.url("etcd"), plan.url("etcd-peer")
    argv = (
        str(binaries / "etcd"),
        f"--data-dir={paths.data('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # a cluster that is thrown away need not survive a power cut
        "--log-level=warn",
    )
    return Component("etcd", 1, argv, lambda: answers(f"{client}/readyz"))


def _containerd(paths: Paths) -> Component:
    config = paths.config("containerd.toml")
    argv = (which("containerd") or "containerd", "--config", str(config))
    return Component("containerd", 1, argv, lambda: listens(paths.containerd_socket), (config,), yields=True)


def _apiserver(paths: Paths, plan: Plan, binaries: Path) -> Component:
    pki = paths.pki
    argv = (
        str(binaries / "kube-apiserver"),
        f"--etcd-servers={plan.url('etcd')}",
        f"--secure-port={plan.ports['kube-apiserver']}",
        f"--advertise-address={plan.gateway}",
        f"--service-cluster-ip-range={plan.services}",
        f"--service-node-port-range={NODE_PORTS}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",  # beside the default set
        "--allow-privileged=true",
        f"--client-ca-file={pki('ca.crt')}",
        f"--tls-cert-file={pki('kube-apiserver.crt')}",
        f"--tls-private-key-file={pki('kube-apiserver.key')}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki('service-accounts.pub')}",
        f"--service-account-signing-key-file={pki('service-accounts.key')}",
        f"--kubelet-client-certificate={pki('kube-apiserver-kubelet-client.crt')}",
        f"--kubelet-client-key={pki('kube-apiserver-kubelet-client.key')}",
        "--kubelet-preferred-address-types=InternalIP",
        # For aggregated APIs; the other programs also complain without a request-header authority.
        f"--requestheader-client-ca-file={pki('ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki('front-proxy-client.crt')}",
        f"--proxy-client-key-file={pki('front-proxy-client.key')}",
    )

    def ready() -> bool:
        context = admin(paths)
        return context is not None and answers(plan.url("kube-apiserver", "/readyz", "https"), context)

    return Component("kube-apiserver", 2, argv, ready, (pki("kube-apiserver.crt"),))


def _controller_manager(paths: Paths, plan: Plan, binaries: Path) -> Component:
    name = "kube-controller-manager"
    argv = (
        str(binaries / name),
        *_client_flags(paths, name),
        "--bind-address=127.0.0.1",
        f"--secure-port={plan.ports[name]}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={paths.pki('service-accounts.key')}",
        f"--root-ca-file={paths.pki('ca.crt')}",
        f"--cluster-signing-cert-file={paths.pki('ca.crt')}",
        f"--cluster-signing-key-file={paths.pki('ca.key')}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-gc-syncs=50",
        "--concurrent-namespace-syncs=20",
        "--concurrent-job-syncs=20",
        "--concurrent-service-endpoint-syncs=20",
    )
    config = paths.config(f"{name}.kubeconfig")
    return Component(name, 3, argv, lambda: answers(plan.url(name, "/healthz", "https")), (config,))


def _scheduler(paths: Paths, plan: Plan, binaries: Path) -> Component:
    name = "kube-scheduler"
    config = paths.config(f"{name}.yaml")
    argv = (
        str(binaries / name),
        f"--config={config}",
        *_client_flags(paths, name)[1:],  # the kubeconfig itself stands in the file
        "--bind-address=127.0.0.1",
        f"--secure-port={plan.ports[name]}",
    )
    files = (config, paths.config(f"{name}.kubeconfig"))
    return Component(name, 3, argv, lambda: answers(plan.url(name, "/healthz", "https")), files)


def _kubelet(paths: Paths, plan: Plan, binaries: Path) -> Component:
    config, kubeconfig = paths.config("kubelet.yaml"), paths.config("kubelet.kubeconfig")
    root = paths.data("kubelet")
    argv = (
        str(binaries / "kubelet"),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={root}",
        f"--cert-dir={root / 'pki'}",
        f"--hostname-override={NODE}",
        f"--node-ip={plan.gateway}",
    )
    ready = plan.url("kubelet-health", "/healthz")
    return Component("kubelet", 3, argv, lambda: answers(ready), (config, kubeconfig), yields=True)


def _proxy(paths: Paths, plan: Plan, binaries: Path) -> Component:
    config, kubeconfig = paths.config("kube-proxy.yaml"), paths.config("kube-proxy.kubeconfig")
    argv = (str(binaries / "kube-proxy"), f"--config={config}")
    ready = plan.url("kube-proxy-health", "/healthz")
    return Component("kube-proxy", 3, argv, lambda: answers(ready), (config, kubeconfig), yields=True)


def _client_flags(paths: Paths, name: str) -> tuple[str, ...]:
    config = paths.config(f"{name}.kubeconfig")
    return tuple(f"--{use}kubeconfig={config}" for use in ("", "authentication-", "authorization-"))
