"""Health and metrics over real HTTP: who may read, and what clients cannot do to it."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from threading import active_count
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr

from slipway import probe_server, probes
from slipway.errors import CannotListen
from slipway.probes import Checks, Heartbeat, Probes
from tests.support.eventually import eventually
from tests.support.until import until

KEY = "k" * 16
HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_server, "POLL_SECONDS", 0.005)


@contextmanager
def probing(health: Checks = {}, ready: Checks = {}, key: str | None = None) -> Iterator[Probes]:
    registry = CollectorRegistry()
    Gauge("slipway_test", "A figure", registry=registry).set(7)
    secret = SecretStr(key) if key else None
    with Probes(HOST, 0, health=health, ready=ready, registry=registry, api_key=secret) as running:
        yield running


def call(running: Probes, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in lower case, body)"""
    connection = HTTPConnection(HOST, running.port, timeout=5)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def ask(running: Probes, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    """(status, decoded body)"""
    status, sent, body = call(running, path, method, **headers)
    assert sent["content-type"] == "application/json"
    return status, json.loads(body)


def fine() -> str | None:
    return None


def fails() -> str | None:
    raise OSError("secret path")


def test_all_is_well() -> None:
    with probing({"loop": fine}, {"lists": fine}) as running:
        assert ask(running, "/healthz") == (200, {"status": "ok"})
        assert ask(running, "/readyz?verbose=1") == (200, {"status": "ok"})
        _, headers, _ = call(running, "/healthz")
        assert headers["cache-control"] == "no-store"


def test_what_is_not_well_says_why_and_each_path_for_itself() -> None:
    with probing({"loop": fine, "lead": lambda: "nobody leads"}, {"lists": lambda: "not yet listed"}) as running:
        assert ask(running, "/healthz") == (503, {"status": "failing", "reasons": {"lead": "nobody leads"}})
        assert ask(running, "/readyz") == (503, {"status": "failing", "reasons": {"lists": "not yet listed"}})


def test_a_check_that_breaks_is_a_reason_without_its_secrets() -> None:
    with probing({"disk": fails}) as running:
        assert ask(running, "/healthz") == (503, {"status": "failing", "reasons": {"disk": "the check broke"}})


def test_checks_are_asked_each_time() -> None:
    answers = iter(["no", None])
    with probing({"loop": lambda: next(answers)}) as running:
        assert [ask(running, "/healthz")[0] for _ in range(2)] == [503, 200]


def test_metrics_on_this_machine_need_no_key() -> None:
    with probing(key=KEY) as running:
        status, headers, body = call(running, "/metrics", X_API_KEY="wrong")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=")
        assert b"\nslipway_test 7.0\n" in body


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        (None, "", 403),
        (None, KEY, 403),
        (KEY, "", 401),
        (KEY, KEY[:-1], 401),
        (KEY, KEY.upper(), 401),
        (KEY, "ü" * 16, 401),
        (KEY, KEY, 200),
        ("schlüssel-mit-ü-ö", "schlüssel-mit-ü-ö".encode().decode("latin-1"), 200),
    ],
)
def test_metrics_from_elsewhere(monkeypatch: pytest.MonkeyPatch, key: str | None, given: str, expected: int) -> None:
    monkeypatch.setattr(probes, "is_loopback", lambda _: False)
    with probing({"loop": fine}, key=key) as running:
        status, _, body = call(running, "/metrics", **({"X_API_KEY": given} if given else {}))
        assert status == expected
        assert (b"slipway_test" in body) is (expected == 200)
        assert KEY.encode() not in body
        assert ask(running, "/healthz") == (200, {"status": "ok"})  # health is for everybody


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz/x", "/HEALTHZ", "/%2e%2e/etc/passwd", "/favicon.ico"])
def test_there_is_nothing_else(path: str) -> None:
    with probing() as running:
        assert ask(running, path) == (404, {"error": "there is /healthz, /readyz and /metrics"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_reading_is_all_there_is(method: str, path: str) -> None:
    with probing() as running:
        assert ask(running, path, method)[0] == 405
        assert call(running, path, method)[1]["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("path", "expected"), [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/x", 404)])
def test_head_says_what_get_would(path: str, expected: int) -> None:
    with probing(ready={"lists": lambda: "not yet"}) as running:
        status, headers, body = call(running, path, "HEAD")
        _, of_get, content = call(running, path)
        assert (status, body) == (expected, b"")
        assert headers["content-length"] == of_get["content-length"] == str(len(content))


def test_a_scrape_that_breaks_is_an_answer_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def collect(self) -> Any:
            raise RuntimeError("secret")

    registry = CollectorRegistry()
    registry.register(Broken())
    with Probes(HOST, 0, health={}, ready={}, registry=registry, api_key=None) as running:
        assert ask(running, "/metrics") == (500, {"error": "internal server error"})
        assert ask(running, "/healthz")[0] == 200


# the event loop


async def test_a_stuck_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(probes, "monotonic", lambda: now)
    monkeypatch.setattr(probes, "BEAT_SECONDS", 0.001)
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.run())
    with probing({"loop": heartbeat.check}) as running:
        assert ask(running, "/healthz")[0] == 200  # this call holds the loop
        now += 16
        status, said = ask(running, "/healthz")
        assert (status, said["reasons"]) == (503, {"loop": "the event loop has not turned for 16 s"})
        await until(lambda: heartbeat.check() is None)  # it turns again
        assert ask(running, "/healthz")[0] == 200
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


def test_a_beat_counts_for_fifteen_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(probes, "monotonic", lambda: now)
    heartbeat = Heartbeat()
    now += 15
    assert heartbeat.check() is None
    now += 1
    assert heartbeat.check() == "the event loop has not turned for 16 s"


# clients that behave badly


@contextmanager
def connected(running: Probes, count: int, sends: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((HOST, running.port), 5)) for _ in range(count)]
        for client in clients:
            client.sendall(sends)
        yield clients


@pytest.mark.parametrize("sends", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_slow_clients_do_not_hang_it(monkeypatch: pytest.MonkeyPatch, sends: bytes) -> None:
    """As many as there are threads, and more: whoever waits behind them is soon answered."""
    monkeypatch.setattr(probe_server, "CROWDED_SECONDS", 0.05)
    with probing({"loop": fine}) as running, connected(running, probe_server.THREADS * 2, sends):
        assert ask(running, "/healthz")[0] == 200


def test_a_client_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the request never does."""
    monkeypatch.setattr(probe_server, "SECONDS", 0.1)
    with probing() as running, connected(running, 1, b"GET /healthz HTTP/1.1\r\nX: ") as (client,):
        client.setblocking(False)
        assert eventually(lambda: ended(client), seconds=5, pause=0.01)


def ended(client: socket.socket) -> bool:
    """Whether the server has; one more byte is sent if not."""
    try:
        client.send(b"x")
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_many_at_once_are_all_answered_by_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_server, "CROWDED_SECONDS", 5.0)  # this machine may be busy
    most = 0

    def slow() -> str | None:
        nonlocal most
        most = max(most, active_count())
        time.sleep(0.001)  # so that they overlap
        return None

    before = active_count()
    with probing({"loop": slow}) as running, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(running, "/healthz")[0], range(300)))
    assert answers == [200] * 300
    assert most <= before + 1 + probe_server.THREADS + 50


@pytest.mark.parametrize(
    "sends",
    [
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(300)) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
    ],
)
def test_garbage_ends_its_connection_alone(sends: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with probing({"loop": fine}) as running:
        with connected(running, 1, sends) as (client,):
            client.shutdown(socket.SHUT_WR)
            while read(client):
                pass
        assert ask(running, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def read(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""


# its own life


def test_a_port_in_use_is_told_at_the_start() -> None:
    with probing() as running:
        second = Probes(HOST, running.port, health={}, ready={}, registry=CollectorRegistry(), api_key=None)
        with pytest.raises(CannotListen, match=rf"{HOST} port {running.port}: .*in use; set SLIPWAY_PROBE_HOST and"):
            second.start()
        second.close()
        assert ask(running, "/healthz")[0] == 200


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        Probes("192.0.2.1", 0, health={}, ready={}, registry=CollectorRegistry(), api_key=None).start()


def test_closing_ends_it_with_what_is_open_and_frees_the_port() -> None:
    with probing() as running:
        port = running.port
        with connected(running, probe_server.THREADS + 2, b"GET") as clients:
            running.close()
            assert all(read(client) == b"" for client in clients)
            running.close()
    with Probes(HOST, port, health={}, ready={}, registry=CollectorRegistry(), api_key=None) as again:
        assert ask(again, "/healthz")[0] == 200


def test_no_thread_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = active_count()
    with probing({"loop": fine}) as running:
        for _ in range(30):
            ask(running, "/healthz")
    quiet: Callable[[], bool] = lambda: active_count() <= before  # noqa: E731
    assert eventually(quiet, seconds=5, pause=0.01)
