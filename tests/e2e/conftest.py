"""A real cluster with Slipway on it, once for all tests."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.product import Product
from tests.testbed.choose import open_cluster
from tests.testbed.interface import Cluster
from tests.testbed.progress import Progress

SETTINGS = {"STACK_SCHEDULING_TIMEOUT": "8s", "STACK_SCHEDULER_INTERVAL": "2s"}
"""Shorter than the defaults, so that what takes a while is soon over."""

FIRST_USER = 9_200_000
"""Stacks of users from here on are the tests'; those of others are left alone."""


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Brought up if need be, and left up for the next run; `make down` ends it."""
    found = open_cluster(progress=Progress())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():  # show progress
        found.create()
    return found


@pytest.fixture(scope="session")
def product(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Product]:
    """Operator and gateway with the tests' settings; afterwards as they were before."""
    made = Product(cluster, Progress())
    ran_before = made.running()
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        made.up(SETTINGS)
    yield made
    if ran_before:
        made.up()
    else:
        made.down()


@pytest.fixture(scope="session")
def users() -> Iterator[int]:
    """Users that no test had before."""
    return itertools.count(FIRST_USER)


@pytest.fixture(autouse=True)
def clean(product: Product) -> Iterator[None]:
    """No test leaves a Stack to the next one, or finds one of a run before."""
    _delete_stacks(product)
    yield
    _delete_stacks(product)


def _delete_stacks(product: Product) -> None:
    kubectl = product.cluster.kubectl
    kubectl("delete", "--raw", "/apis/slipway.dev/v1alpha1/namespaces/stacks/stacks?labelSelector=e2e")
    stacks: list[dict[str, Any]] = json.loads(kubectl("get", "stacks", "-n", "stacks", "-o", "json"))["items"]
    names = [s["metadata"]["name"] for s in stacks if s["spec"]["userId"] >= FIRST_USER]
    if names:  # made over REST, without the label
        kubectl("delete", "stacks", "-n", "stacks", "--ignore-not-found", *names)
