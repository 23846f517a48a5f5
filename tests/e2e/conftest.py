"""A real cluster with Slipway on it, once for all tests."""

import os
from collections.abc import Iterator

import pytest

from tests.support.product import Product
from tests.testbed.choose import open_cluster
from tests.testbed.interface import Cluster
from tests.testbed.progress import Progress

SETTINGS = {"STACK_SCHEDULING_TIMEOUT": "5s", "STACK_SCHEDULER_INTERVAL": "2s"}
"""Shorter than the defaults, so that what takes a while is soon over."""


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Brought up if need be, and left up for the next run; `make down` ends it."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    found = open_cluster(os.environ.get("KUBECONFIG"), progress=Progress())
    with capture.global_and_fixture_disabled():  # so that progress is seen
        found.create()
    return found


@pytest.fixture(scope="session")
def product(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Product]:
    """Operator and gateway with the tests' settings; afterwards as they were before."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    made = Product(cluster, Progress())
    ran_before = made.running()
    with capture.global_and_fixture_disabled():
        made.up(SETTINGS)
    yield made
    if ran_before:
        made.up()
    else:
        made.down()


@pytest.fixture(autouse=True)
def clean(product: Product) -> Iterator[None]:
    """Each test begins and ends with no Stack, so that none depends on another."""
    product.cluster.kubectl("delete", "stacks", "--all", "-n", "stacks", "--wait")
    yield
    product.cluster.kubectl("delete", "stacks", "--all", "-n", "stacks", "--wait")
