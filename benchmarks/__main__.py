"""`make bench`: bring everything up, measure, print. NAME: all of them if none is given."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks import get, post, stack_burst, takeover, thousand
from benchmarks.bare import Bare, connect
from benchmarks.figures import Figure, table
from benchmarks.stacks import tidy
from tests.support.product import Product
from tests.testbed.choose import open_cluster
from tests.testbed.errors import ClusterError
from tests.testbed.progress import Progress


@dataclass(frozen=True)
class Benchmark:
    title: str
    run: Callable[[Bare, Product], Awaitable[list[Figure]]]


BENCHMARKS = {
    "burst": Benchmark(f"a burst of {stack_burst.BURST} Stack resources", stack_burst.run),
    "post": Benchmark(f"POST /stacks, {post.STACKS} stacks", post.run),
    "post-hollow": Benchmark(f"POST /stacks, {post.STACKS} stacks, on a node that starts no pods", post.run_hollow),
    "get": Benchmark(f"reads over {get.CONNECTIONS} connections", get.run),
    "thousand": Benchmark(f"{thousand.STACKS} Stacks", thousand.run),
    "takeover": Benchmark("takeover after SIGKILL of the leader", takeover.run),
}

Report = dict[str, list[Figure]]


async def measure(product: Product, names: Sequence[str], show: Callable[[str, list[Figure]], None]) -> bool:
    """Run benchmarks one after the other, each from a clean start; whether all of them could be run."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    complete = True
    async with connect(product.cluster.kubeconfig_path) as api:
        for name in names:
            title = BENCHMARKS[name].title
            try:
                with product.progress.step(title):
                    product.up()
                    async with tidy(api):
                        show(name, await BENCHMARKS[name].run(api, product))
            except Exception as error:
                complete = False
                print(f"{title}: could not be measured: {_told(error)}", file=sys.stderr)
    return complete


def _told(error: BaseException) -> str:
    """One line, with the causes that a group of tasks has gathered."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_told, error.exceptions))
    return f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - BENCHMARKS.keys()):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    report: Report = {}

    def show(name: str, figures: list[Figure]) -> None:
        report[name] = figures
        if not options.json:
            print("\n" + table(BENCHMARKS[name].title, figures) + "\n", flush=True)

    progress = Progress()
    product = Product(open_cluster(progress=progress), progress)
    try:
        product.cluster.create()
        complete = asyncio.run(measure(product, options.names or list(BENCHMARKS), show))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; what was made for it is gone again", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps({name: [f.to_object() for f in figures] for name, figures in report.items()}, indent=2))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
