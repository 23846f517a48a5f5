"""Taking a package-built cluster away, so that the machine is as it was; any part may be gone already."""

from __future__ import annotations

import contextlib
import shutil

from tests.testbed import host, iptables, network
from tests.testbed.debian import remove_guard
from tests.testbed.files import partial, sweep
from tests.testbed.paths import Paths
from tests.testbed.processes import end, marked, program
from tests.testbed.progress import Progress
from tests.testbed.state import State, boot_id
from tests.testbed.tools import which


def teardown(paths: Paths, state: State, progress: Progress) -> None:
    """Remove everything, the state last: interrupted, it can be run again."""
    remove_guard()
    if state.boot == boot_id():
        _end_processes(paths, progress)
        sockets = host.shim_sockets(paths)
        progress.say("unmounting")
        host.unmount_below(paths.state, paths.run)
        host.remove_fixed_files(paths, sockets, state.before.missing)
        _restore_network(state, progress)
    progress.say("removing files")
    remove_files(paths)


def remove_files(paths: Paths) -> None:
    """Remove state, logs and kubeconfig; caches stay."""
    paths.kubeconfig.unlink(missing_ok=True)
    if paths.state.exists():
        # Away in one go: half a state directory would look like a whole one to the next `up`.
        trash = partial(paths.state)
        paths.state.rename(trash)
        shutil.rmtree(trash)
    if paths.run.exists():
        shutil.rmtree(paths.run)
    sweep(paths.state.parent)
    with contextlib.suppress(OSError):  # other things of the checkout lie there
        paths.state.parent.rmdir()


def _end_processes(paths: Paths, progress: Progress) -> None:
    mark = str(paths.state)
    # kubelet first: it would start anew what ends after it.
    for name in ("kubelet", "kube-controller-manager"):
        end([p for p in marked(mark, name) if program(p[0]) == name], grace_s=0)
    progress.say("ending containers")
    host.end_cgroups()
    progress.say("ending processes")
    end(marked(mark), grace_s=0)


def _restore_network(state: State, progress: Progress) -> None:
    progress.say("restoring the network")
    if state.plan is not None and which("ip"):
        network.remove(state.plan)
    if which("iptables-save"):
        iptables.clean(state.before.chains, state.before.tables)
    network.set_sysctls(state.before.sysctls)
