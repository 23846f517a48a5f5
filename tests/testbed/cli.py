"""The command line: up, down, status."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from tests.testbed.choose import open_cluster
from tests.testbed.errors import ClusterError
from tests.testbed.interface import Cluster, Status
from tests.testbed.progress import Progress

FAILED, NOT_UP, INTERRUPTED = 1, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done (status: up), 1 failed, 3 status: not up, 130 interrupted."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cluster = open_cluster(options.kubeconfig, progress=Progress(quiet=options.quiet))
        if options.command == "up":
            cluster.create()
            print(f"export KUBECONFIG={cluster.kubeconfig_path}")
            return 0
        if options.command == "down":
            return _down(cluster)
        return _status(cluster.status(), options.json)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; `up` goes on from here, `down` clears away", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kubeconfig", help="use this cluster, and never delete it (else KUBECONFIG)")
    common.add_argument("--quiet", action="store_true", help="no progress")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", parents=[common], help="bring a cluster up, or repair it")
    commands.add_parser("down", parents=[common], help="remove it and every trace of it but the cache")
    status = commands.add_parser("status", parents=[common], help="how it is; exit code 3 when it is not up")
    status.add_argument("--json", action="store_true", help="for programs")
    return parser


def _down(cluster: Cluster) -> int:
    if cluster.kind == "given":
        print(f"{cluster.kubeconfig_path} was given and stays as it is")
        return 0
    cluster.delete()
    return 0


def _status(status: Status, as_json: bool) -> int:
    if as_json:
        print(json.dumps(status.as_dict(), indent=2))
    else:
        print("\n".join(_lines(status)))
    return 0 if status.up else NOT_UP


def _lines(status: Status) -> list[str]:
    lines = [
        f"cluster       {status.kind}, {'up' if status.up else 'not up'}",
        f"node          {'ready' if status.node_ready else 'not ready'}",
        f"kubeconfig    {status.kubeconfig}",
        f"registry      {status.registry or 'none'}",
        f"node ports at {status.node_address or 'unknown'}",
    ]
    lines += [f"  {c.name:<24}{c.state:<10}{c.pid or ''}".rstrip() for c in status.components]
    if status.problem:
        lines.append(f"problem       {status.problem}")
    return lines


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
