"""A small HTTP server that no client can hang: few threads, and little time for each connection."""

import io
import logging
import socket
import sys
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

THREADS = 16
SECONDS = 5.0  # for a connection, from its start to its end
CROWDED_SECONDS = 0.5  # the same while others wait for a thread
POLL_SECONDS = 0.25  # between two looks for connections that take too long


class ProbeServer(ThreadingMixIn, WSGIServer):
    """Listens at once; raises OSError where it cannot."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False  # a second operator on this port must be told
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, address = found[0][0], str(found[0][4][0])
        self._free = BoundedSemaphore(THREADS)
        self._open: dict[socket.socket, float] = {}  # since when
        self._lock = Lock()
        self._ending = False
        super().__init__((address, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would look the host's name up in the DNS
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def serve(self) -> None:
        """Answer until `close`."""
        self.serve_forever(POLL_SECONDS)

    def close(self) -> None:
        self._ending = True
        self.shutdown()
        self.server_close()
        self._cut(older_than=-1)

    def service_actions(self) -> None:
        self._cut(SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._free.acquire(timeout=POLL_SECONDS):
            if self._ending:
                self.shutdown_request(request)
                return
            self._cut(CROWDED_SECONDS)
        with self._lock:
            self._open[request] = monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The end of every connection; for one that had a thread, that is free again."""
        with self._lock:
            served = self._open.pop(request, None) is not None
        super().shutdown_request(request)
        if served:
            self._free.release()

    def handle_error(self, *_: Any) -> None:
        log.debug("a client of the probes broke off: %r", sys.exception())

    def _cut(self, older_than: float) -> None:
        """End what takes too long; its thread then fails to read or write, and ends."""
        now = monotonic()
        with self._lock:
            for request, since in self._open.items():
                if now - since > older_than:
                    try:
                        request.shutdown(socket.SHUT_RDWR)
                    except OSError:  # the client was faster
                        continue


class _Handler(WSGIRequestHandler):
    timeout = SECONDS  # for one read or write

    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds: not a word."""

    def get_stderr(self) -> io.StringIO:
        """Where wsgiref tells of clients that broke off: nowhere."""
        return io.StringIO()
