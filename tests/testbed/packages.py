"""A cluster built from packages: one node, this machine."""

from __future__ import annotations

import os

from tests.testbed import host, iptables, network
from tests.testbed import state as states
from tests.testbed.binaries import bin_dir, ensure_binaries
from tests.testbed.components import Component, components
from tests.testbed.config import write_configs
from tests.testbed.debian import NEEDS, ensure_packages
from tests.testbed.errors import ClusterError
from tests.testbed.images import ensure_images, push_images
from tests.testbed.interface import Cluster, Status
from tests.testbed.lock import machine_lock
from tests.testbed.paths import Paths
from tests.testbed.pki import ensure_pki, write_kubeconfigs
from tests.testbed.plan import Plan, make_plan
from tests.testbed.probes import node_ready, pods_can_start
from tests.testbed.processes import marked, tail
from tests.testbed.progress import Progress
from tests.testbed.state import Before, State
from tests.testbed.supervisor import Supervisor, eventually
from tests.testbed.teardown import remove_files, teardown

NODE_READY_S = 90.0


class PackagesCluster(Cluster):
    """etcd, the Kubernetes programs, containerd and a registry as processes of this machine; needs root."""

    kind = "packages"
    name = "slipway-testbed"

    def __init__(self, paths: Paths | None = None, progress: Progress | None = None) -> None:
        self.paths = paths or Paths()
        self.progress = progress or Progress()
        self.kubeconfig_path = self.paths.kubeconfig
        self._supervisor = Supervisor(self.paths, self.progress)

    @property
    def registry(self) -> str | None:
        """The local registry, at the bridge's address."""
        plan = self._plan()
        return plan.registry if plan else None

    @property
    def node_address(self) -> str:
        """Loopback: kube-proxy serves node ports there."""
        return "127.0.0.1"

    def kubectl_program(self) -> str:
        """Ours, of the cluster's very version."""
        return str(bin_dir() / "kubectl")

    def create(self) -> None:
        """Bring the cluster up: build what the cache lacks, start what does not run, wait for the node."""
        _require_root()
        with machine_lock(self.paths, self.progress):
            ensure_packages(self.progress, NEEDS)
            self._make_room()
            binaries = ensure_binaries(self.progress)
            ensure_images(self.progress)
            plan = self._settle()
            network.ensure(plan)
            host.ensure_cgroups()
            ensure_pki(self.paths, plan)
            write_kubeconfigs(self.paths, plan)
            write_configs(self.paths, plan)
            self._supervisor.start_all(components(self.paths, plan, binaries), self._after_stage)
            self._wait_for_node(plan)
        self.progress.say("the cluster is up")

    def delete(self) -> None:
        """Remove every trace but the caches."""
        _require_root()
        with machine_lock(self.paths, self.progress):
            state = states.load(self.paths)
            if state is not None:
                teardown(self.paths, state, self.progress)
            else:
                self.progress.say("no cluster of this checkout")
                if states.read(self.paths.claim_file) is None:
                    remove_files(self.paths)
            if not self.paths.claim_file.exists():  # another checkout's cluster may be up
                self.paths.lock_file.unlink()

    def status(self) -> Status:
        """Each component, and the node."""
        state = states.load(self.paths)
        if state is None or state.plan is None or state.boot != states.boot_id():
            return Status(self.kind, up=False, node_ready=False, kubeconfig=str(self.paths.kubeconfig))
        listed = [self._supervisor.status(c) for c in components(self.paths, state.plan, bin_dir())]
        ready = node_ready(self.paths, state.plan)
        return Status(
            kind=self.kind,
            up=ready and all(c.state == "running" for c in listed),
            node_ready=ready,
            kubeconfig=str(self.paths.kubeconfig),
            registry=state.plan.registry,
            node_address=self.node_address,
            components=listed,
        )

    def restart(self, component: str, grace_s: float = 10.0) -> None:
        """End a component and start it again; waits until it, and after it the node, is ready."""
        with machine_lock(self.paths, self.progress):
            found, plan = self._component(component), self._plan()
            self._supervisor.stop(found, grace_s)
            self._supervisor.start(found)
            self._supervisor.wait_ready(found)
            if plan is not None:
                self._wait_for_node(plan)

    def stop(self, component: str, grace_s: float = 10.0) -> None:
        """End a component; `restart` or `create` brings it back."""
        with machine_lock(self.paths, self.progress):
            self._supervisor.stop(self._component(component), grace_s)

    def _component(self, name: str) -> Component:
        plan = self._plan()
        if plan is None:
            raise ClusterError("the cluster is not up")
        known = {c.name: c for c in components(self.paths, plan, bin_dir())}
        if name not in known:
            raise ClusterError(f"no component {name}; there are {', '.join(known)}")
        return known[name]

    def _plan(self) -> Plan | None:
        state = states.load(self.paths)
        return state.plan if state else None

    def _make_room(self) -> None:
        """Clear away a cluster that is dead; refuse beside one that lives."""
        claim, own = states.read(self.paths.claim_file), states.read(self.paths.state_file)
        if claim is not None and claim.repo != str(self.paths.repo):
            other = Paths(type(self.paths.repo)(claim.repo), self.paths.run)
            if marked(str(other.state)):
                raise ClusterError(
                    f"the cluster of {claim.repo} is up, and one machine holds one: use it with "
                    f"--kubeconfig {other.kubeconfig}, or run `down` there"
                )
            self.progress.say(f"removing what is left of the cluster of {claim.repo}")
            teardown(other, claim, self.progress)
            claim = None
        stale = own is not None and own.boot != states.boot_id()
        wiped = own is None and claim is not None
        if stale or wiped:
            self.progress.say("removing what is left of an earlier cluster")
            teardown(self.paths, own or claim or State(self.kind, ""), self.progress)
            own = None
        if own is None and iptables.kube_proxy_present():
            raise ClusterError(
                "another Kubernetes runs on this machine (its KUBE-SERVICES chain is in iptables), and two "
                "would fight over its rules: use that one with --kubeconfig"
            )

    def _settle(self) -> Plan:
        """The plan of a running cluster, or a new one, written down before anything is touched."""
        own = states.read(self.paths.state_file)
        if own is not None and own.plan is not None:
            return own.plan
        network.load_modules()
        chains, tables = iptables.snapshot()
        before = Before(network.sysctls(), chains, tables, host.missing_dirs())
        state = State(self.kind, str(self.paths.repo), states.boot_id(), make_plan(), before)
        states.save(self.paths, state)
        assert state.plan is not None
        return state.plan

    def _after_stage(self, stage: int) -> None:
        # The first stage brings the registry, and kubelet needs the images in it soon.
        if stage == 1 and self.registry:
            push_images(self.registry)

    def _wait_for_node(self, plan: Plan) -> None:
        if pods_can_start(self.paths, plan):
            return
        with self.progress.step("waiting for the node"):
            if not eventually(lambda: pods_can_start(self.paths, plan), NODE_READY_S):
                log = self.paths.log("kubelet")
                raise ClusterError(f"the node is not ready after {NODE_READY_S:.0f} s; {log}:\n{tail(log)}")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError(
            "no cluster here: start Docker (then kind is used), name a cluster with --kubeconfig or "
            "KUBECONFIG, or run this as root on Debian to build one from packages"
        )
