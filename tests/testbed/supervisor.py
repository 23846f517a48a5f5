"""Starting the components in their order, seeing that they are ready, restarting one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from tests.testbed.components import Component
from tests.testbed.errors import ClusterError
from tests.testbed.interface import ComponentStatus
from tests.testbed.paths import Paths
from tests.testbed.processes import MARK, ROLE, Record, alive, end, load, marked, program, spawn, tail, yield_cpu
from tests.testbed.progress import Progress
from tests.testbed.tools import search_path

READY_S = 90.0
POLL_S = 0.1


@dataclass(frozen=True)
class Supervisor:
    """Runs one checkout's components; keeps nothing in memory, so that any later command can take over."""

    paths: Paths
    progress: Progress

    @property
    def mark(self) -> str:
        """What every process of this cluster carries in its environment."""
        return str(self.paths.state)

    def start_all(self, components: Iterable[Component], between: Callable[[int], None]) -> None:
        """Start what does not run as it should, stage by stage; `between` is called after each stage."""
        for stage, members in groupby(components, key=lambda component: component.stage):
            group = list(members)
            for component in group:
                self.start(component)
            for component in group:
                self.wait_ready(component)
            between(stage)

    def start(self, component: Component) -> None:
        """Start one unless it runs, with the same arguments and configuration."""
        record = load(self.paths.records, component.name)
        if alive(record) and record is not None and record.fingerprint == component.fingerprint:
            return
        if alive(record):
            self.progress.say(f"restarting {component.name}: its settings changed")
        self.stop(component, grace_s=10.0)
        self.progress.say(f"starting {component.name}")
        record = spawn(
            component.name,
            component.argv,
            env={"PATH": search_path(), "HOME": "/root", MARK: self.mark, ROLE: component.name},
            log=self.paths.log(component.name),
            directory=self.paths.records,
            fingerprint=component.fingerprint,
        )
        if component.yields:
            yield_cpu(record.pid)

    def stop(self, component: Component, grace_s: float) -> None:
        """End one, also when its record was never written; its children, as containers' shims, stay."""
        own = program_name(component)
        running = [pair for pair in marked(self.mark, component.name) if program(pair[0]) == own]
        end(running, grace_s)
        (self.paths.records / f"{component.name}.json").unlink(missing_ok=True)

    def wait_ready(self, component: Component) -> None:
        """Until it is ready; `ClusterError` with the end of its log when it dies or takes too long."""
        record = load(self.paths.records, component.name)
        log = self.paths.log(component.name)

        def check() -> bool:
            if not alive(record):
                raise ClusterError(f"{component.name} ended; the end of {log}:\n{tail(log)}")
            return component.ready()

        if not eventually(check, READY_S):
            raise ClusterError(f"{component.name} is not ready after {READY_S:.0f} s; {log}:\n{tail(log)}")

    def status(self, component: Component) -> ComponentStatus:
        """How one is."""
        record: Record | None = load(self.paths.records, component.name)
        if record is None or not alive(record):
            return ComponentStatus(component.name, "stopped")
        return ComponentStatus(component.name, "running" if component.ready() else "unhealthy", record.pid)


def program_name(component: Component) -> str:
    """The name a component's process goes by."""
    return component.argv[0].rpartition("/")[2]


def eventually(check: Callable[[], bool], seconds: float) -> bool:
    """Whether `check` comes true in time."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
