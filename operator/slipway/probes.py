"""Health and metrics over HTTP, in threads of their own: a stuck event loop is seen, not waited for."""

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app
from prometheus_client.registry import CollectorRegistry
from pydantic import SecretStr

from slipway.errors import CannotListen
from slipway.probe_server import ProbeServer
from slipway.rules.addresses import is_loopback

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 15.0  # without a beat, after which the loop is held for stuck

Checks = Mapping[str, Callable[[], str | None]]
"""name -> a reason why not, None when all is well. Called in another thread; must not block."""


class Heartbeat:
    """Whether the event loop turns."""

    def __init__(self) -> None:
        self._last = monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._last = monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def check(self) -> str | None:
        silence = monotonic() - self._last
        return f"the event loop has not turned for {silence:.0f} s" if silence > SILENCE_SECONDS else None


class Answer(NamedTuple):
    """What a client is told."""

    status: str
    body: bytes
    headers: list[tuple[str, str]]


class Probes:
    """`/healthz`, `/readyz` and `/metrics`, from `start` to `close`, or inside `with`. port 0: one that is free."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        health: Checks,
        ready: Checks,
        registry: CollectorRegistry,
        api_key: SecretStr | None,
    ) -> None:
        self._address = host, port
        self._checks = {"/healthz": health, "/readyz": ready}
        self._metrics = make_wsgi_app(registry)
        self._key = api_key.get_secret_value().encode() if api_key else None
        self._server: ProbeServer | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """The one that it listens on."""
        return self._server.server_port if self._server else self._address[1]

    def start(self) -> None:
        """Listen. Raises CannotListen."""
        host, port = self._address
        try:
            self._server = ProbeServer(host, port, self.app)
        except (OSError, OverflowError) as error:
            raise CannotListen(
                f"health and metrics cannot be had on {host} port {port}: {error}; "
                "set SLIPWAY_PROBE_HOST and SLIPWAY_PROBE_PORT to an address that is free"
            ) from error
        self._thread = Thread(target=self._server.serve, name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, with every connection; fine if it never began."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server and thread:
            server.close()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        try:
            answer = self._answer(environ)
        except Exception:
            log.exception("answering %r broke", environ["PATH_INFO"])
            answer = _json("500 Internal Server Error", {"error": "internal server error"})
        length = ("Content-Length", str(len(answer.body)))
        start_response(answer.status, [*answer.headers, length, ("Cache-Control", "no-store")])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        path = environ["PATH_INFO"]
        if path != "/metrics" and path not in self._checks:
            return _json("404 Not Found", {"error": f"there is {', '.join(self._checks)} and /metrics"})
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _json("405 Method Not Allowed", {"error": "GET and HEAD alone"}, ("Allow", "GET, HEAD"))
        if path in self._checks:
            return _verdict(self._checks[path])
        return self._refusal(environ) or self._figures(environ)

    def _refusal(self, environ: WSGIEnvironment) -> Answer | None:
        """Of the metrics, to whom they are not for."""
        if is_loopback(environ["REMOTE_ADDR"]):
            return None
        if self._key is None:
            return _json("403 Forbidden", {"error": "without SLIPWAY_API_KEY metrics are for this machine alone"})
        given = environ.get("HTTP_X_API_KEY", "").encode("latin-1")  # as WSGI decoded it
        if hmac.compare_digest(given, self._key):
            return None
        return _json("401 Unauthorized", {"error": "X-API-KEY: a valid API key is required"})

    def _figures(self, environ: WSGIEnvironment) -> Answer:
        told: list[Any] = []
        body = b"".join(self._metrics(environ | {"REQUEST_METHOD": "GET"}, lambda *args: told.extend(args)))
        return Answer(told[0], body, told[1])


def _verdict(checks: Checks) -> Answer:
    reasons = {name: reason for name, check in checks.items() if (reason := _asked(name, check)) is not None}
    if reasons:
        return _json("503 Service Unavailable", {"status": "failing", "reasons": reasons})
    return _json("200 OK", {"status": "ok"})


def _asked(name: str, check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except Exception:
        log.exception("the check of %s broke", name)
        return "the check broke"


def _json(status: str, body: Mapping[str, object], *headers: tuple[str, str]) -> Answer:
    return Answer(
        status, json.dumps(body, separators=(",", ":")).encode(), [("Content-Type", "application/json"), *headers]
    )
