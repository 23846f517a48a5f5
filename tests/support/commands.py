"""What the Makefile runs: up, demo, status, down."""

import argparse
import sys

from tests.support import examples
from tests.support.eventually import eventually
from tests.support.product import Product, text
from tests.testbed.choose import open_cluster
from tests.testbed.errors import ClusterError
from tests.testbed.progress import Progress

LOOK = """
Slipway is up. Where to look next:

  shell        source .slipway/env
  kubectl      kubectl get stacks -n stacks            (kubeconfig {kubeconfig})
  REST         curl {gateway}/stacks
  API pages    {gateway}/docs   {gateway}/redoc
  registry     {registry}
  logs         .slipway/logs/operator.log  .slipway/logs/gateway.log
  the end      make down
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.commands", description=__doc__)
    parser.add_argument("command", choices=("up", "demo", "status", "down"))
    command = parser.parse_args().command
    progress = Progress()
    product = Product(open_cluster(progress=progress), progress)
    try:
        return {"up": up, "demo": demo, "status": status, "down": down}[command](product)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here, `make down` clears away", file=sys.stderr)
        return 130


def up(product: Product) -> int:
    product.cluster.create()
    product.up()
    where = {"kubeconfig": product.cluster.kubeconfig_path, "registry": product.cluster.registry or "none"}
    print(LOOK.format(gateway=product.gateway, **where))
    return 0


def demo(product: Product) -> int:
    product.cluster.create()
    product.up()
    for example in examples.EXAMPLES:
        print(f"\n=== examples/{example.name}/README.md " + "=" * 60, flush=True)
        done = examples.run(example, product.env_file, echo=True)
        if done.returncode:
            print(f"error: examples/{example.name} failed, exit code {done.returncode}", file=sys.stderr)
            return 1
    print("\n=== one more, which stays " + "=" * 60, flush=True)
    print(leave_running(product))
    return up(product)


def leave_running(product: Product) -> str:
    """Start the first example once more; returns where it answers, and what."""
    kubectl = product.cluster.kubectl
    kubectl("apply", "-f", str(examples.EXAMPLES[0] / "stack.yaml"))
    kubectl("wait", "-n", "stacks", "stack/stack-101-1001", "--for=condition=Ready", "--timeout=60s")
    port = kubectl("get", "-n", "stacks", "stack/stack-101-1001", "-o", "jsonpath={.status.nodePort}")
    url = f"http://{product.cluster.node_address}:{port}/"
    answer = eventually(lambda: text(url))
    return f"{kubectl('get', 'stacks', '-n', 'stacks')}\n{url} answers: {answer}"


def status(product: Product) -> int:
    cluster = product.cluster.status()
    ready = text(f"{product.gateway}/readyz") is not None if product.running() else False
    print(f"cluster   {cluster.kind}, {'up' if cluster.up else 'not up'}")
    print(f"operator  {'runs' if product.running() else 'does not run'}")
    print(f"gateway   {product.gateway}, ready" if ready else "gateway   not ready")
    return 0 if cluster.up and ready else 3


def down(product: Product) -> int:
    product.down()
    if product.cluster.kind != "given":
        product.cluster.delete()
    return 0


if __name__ == "__main__":
    sys.exit(main())
