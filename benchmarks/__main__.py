"""`make bench`: bring everything up, measure, print."""

import argparse
import asyncio
import json
import sys

from benchmarks import stack_burst
from benchmarks.bare import connect
from tests.support.product import Product
from tests.testbed.choose import open_cluster
from tests.testbed.progress import Progress


async def measure(product: Product) -> stack_burst.Report:
    operator = product.record("operator")
    if operator is None:
        raise RuntimeError("the operator does not run")
    async with connect(product.cluster.kubeconfig_path) as api:
        return await stack_burst.run(api, operator.pid)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    as_json = parser.parse_args().json
    progress = Progress()
    product = Product(open_cluster(progress=progress), progress)
    product.cluster.create()
    product.up()
    with progress.step(f"a burst of {stack_burst.BURST} stacks, {stack_burst.ROUNDS} rounds against a bare client"):
        report = asyncio.run(measure(product))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(f"{name:<44}{value:8.2f}" for name, value in report.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
