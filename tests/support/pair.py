"""Two operators and two gateways at once: who leads, and many requests over both."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from tests.support.eventually import eventually
from tests.support.product import Product, rest, text
from tests.support.stacks import NAMESPACE, Json

OPERATORS, GATEWAYS = ("operator", "operator-2"), ("gateway", "gateway-2")

Answer = tuple[int, Any]
NO_ANSWER: Answer = (0, {})


@contextmanager
def running(product: Product, settings: dict[str, str]) -> Iterator[None]:
    """Both pairs, with these settings; afterwards the second ones are gone."""
    try:
        for name in (*OPERATORS, *GATEWAYS):
            product.spawn(name, settings)
        for name in (*OPERATORS, *GATEWAYS):
            product.wait_ready(name)
        leader(product)
        yield
    finally:
        for name in (OPERATORS[1], GATEWAYS[1]):
            product.stop(name)


def leader(product: Product) -> str:
    """The operator that leads, as soon as exactly one does."""
    return eventually(lambda: _only([name for name in OPERATORS if leads(product, name)]))


def leads(product: Product, name: str) -> bool:
    return "slipway_leader 1.0" in (text(f"{product.url(name)}/metrics") or "")


def other(names: tuple[str, str], name: str) -> str:
    return next(n for n in names if n != name)


def send(product: Product, name: str, number: int) -> None:
    """A signal to a process that we started."""
    record = product.record(name)
    assert record, f"{name} does not run"
    os.kill(record.pid, number)


def kill(product: Product, name: str) -> None:
    """SIGKILL, and forget it."""
    send(product, name, signal.SIGKILL)
    product.stop(name)


def post_all(
    product: Product, bodies: Iterable[Json], at_once: int, *, midway: Callable[[], None] | None = None
) -> list[Answer]:
    """POST /stacks for each, in turn at both gateways. midway: called once, when half of them are answered."""
    requests = list(bodies)
    urls = itertools.cycle([product.url(name) for name in GATEWAYS])
    answered = itertools.count(1)
    half = threading.Event()

    def post(url: str, body: Json) -> Answer:
        answer = _try(url, body)
        if next(answered) >= len(requests) // 2:
            half.set()
        return answer

    with ThreadPoolExecutor(at_once) as pool:
        answers = [pool.submit(post, url, body) for url, body in zip(urls, requests, strict=False)]
        if midway:
            assert half.wait(120)
            midway()
        return [answer.result() for answer in answers]


def stacks_of(product: Product, users: Iterable[int]) -> list[Json]:
    """The Stacks of these users, as the API server has them."""
    wanted = set(users)
    found = json.loads(product.cluster.kubectl("get", "stacks", "-n", NAMESPACE, "-o", "json"))["items"]
    return [stack for stack in found if stack["spec"]["userId"] in wanted]


def _try(url: str, body: Json) -> Answer:
    try:
        return rest("POST", f"{url}/stacks", body)
    except (OSError, HTTPException):  # cut off
        return NO_ANSWER


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None
