"""What all routes share: who may, what an error looks like, health, and pages that work offline."""

import asyncio
import re
from typing import Any

import pytest
from yarl import URL

from api_gateway.auth.guard import MISSING
from tests.functional.conftest import StartGateway
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, answer_with, ask, placed

KEY = "k" * 32
OPEN = ["/healthz", "/health", "/readyz", "/openapi.json", "/docs", "/redoc", "/docs/swagger-ui.css"]
CLOSED = ["/stacks", "/stacks/x", "/stacks/x/status", "/users/1/stacks", "/stats"]


async def status_of(gateway: Gateway, path: str, method: str = "GET", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.client.request(method, path, headers=sent) as response:
        return response.status


async def raw(gateway: Gateway, head: bytes) -> bytes:
    """The answer to a request that no client library would send."""
    reader, writer = await asyncio.open_connection(gateway.client.host, gateway.client.port)
    writer.write(head + b"Connection: close\r\n\r\n")
    try:
        async with asyncio.timeout(2):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], KEY + "x", KEY.upper()])
async def test_a_key_where_one_is_set(start_gateway: StartGateway, key: str | None) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        headers = {} if key is None else {"X-API-KEY": key}
        for path in CLOSED:
            asked = MISSING if key is None else "X-API-KEY: a valid API key is required"
            assert await gateway.call("GET", path, headers=headers) == (401, {"error": asked})
        assert (await gateway.call("POST", "/stacks", ask(), headers=headers))[0] == 401
        for path in OPEN:
            assert await status_of(gateway, path) == 200
        assert await status_of(gateway, "/stacks", X_API_KEY=KEY) == 200
        assert await status_of(gateway, "/no/such/path") == 401
        assert await status_of(gateway, "/no/such/path", X_API_KEY=KEY) == 404


async def test_with_a_key_any_host_and_origin_is_served(start_gateway: StartGateway) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        headers = {"Host": "slipway.example", "Origin": "https://page.example", "X-API-KEY": KEY}
        assert (await gateway.call("GET", "/stacks", headers=headers))[0] == 200


async def test_a_key_of_bytes_that_are_no_text(start_gateway: StartGateway) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        answer = await raw(gateway, b"GET /stacks HTTP/1.1\r\nHost: x\r\nX-API-KEY: \xff\xfe\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")


HOSTS = [
    ("localhost", 200),
    ("localhost:8080", 200),
    ("LOCALHOST", 200),
    ("127.0.0.1:8080", 200),
    ("127.1.2.3", 200),
    ("[::1]:8080", 200),
    ("evil.example", 403),
    ("localhost.evil.example", 403),
    ("127.0.0.1.nip.io", 403),
    ("10.0.0.1", 403),
    ("0.0.0.0", 403),
    ("localhost@evil.example", 403),
    ("[", 403),
    ("[::1", 403),
    ("[evil]", 403),
    ("a b", 403),
    ("%", 403),
    (":", 403),
]


@pytest.mark.parametrize(("host", "code"), HOSTS)
async def test_hosts_without_a_key(gateway: Gateway, host: str, code: int) -> None:
    answer = await raw(gateway, f"GET /stacks HTTP/1.1\r\nHost: {host}\r\n".encode())
    got = int(answer.split()[1])
    assert got == code or (code == 403 and got == 400), answer


ORIGINS = [
    ("http://localhost:3000", 200),
    ("http://127.0.0.1", 200),
    ("http://[::1]:1", 200),
    ("https://evil.example", 403),
    ("null", 403),
    ("", 403),
    ("http://[", 403),
    ("http://localhost.evil.example", 403),
    ("http://localhost@evil.example", 403),
    ("file://", 403),
]


@pytest.mark.parametrize(("origin", "code"), ORIGINS)
async def test_origins_without_a_key(gateway: Gateway, origin: str, code: int) -> None:
    assert await status_of(gateway, "/stacks", Origin=origin) == code
    assert await status_of(gateway, "/healthz", Origin=origin) == code


async def test_too_large(gateway: Gateway, api: FakeApi) -> None:
    status, answer = await gateway.call("POST", "/stacks", ask(pod_spec="x" * 300_000))
    assert (status, answer) == (413, {"error": "the request body is too large"})


async def test_too_large_without_saying_so(gateway: Gateway) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"x" * 10_000

    headers = {"Content-Type": "application/json"}
    async with gateway.client.post("/stacks", data=chunks(), headers=headers) as response:
        assert response.status == 413


@pytest.mark.parametrize("path", [*OPEN, *CLOSED])
async def test_head_is_get_without_a_body(gateway: Gateway, api: FakeApi, path: str) -> None:
    async with gateway.client.get(path) as got, gateway.client.head(path) as head:
        assert head.status == got.status
        assert head.content_type == got.content_type
        assert await head.read() == b""


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/stacks", {"GET", "HEAD", "POST"}),
        ("POST", "/stacks/x", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/stats", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/users/1/stacks", {"GET", "HEAD"}),
        ("PATCH", "/stacks", {"GET", "HEAD", "POST"}),
    ],
)
async def test_another_method(gateway: Gateway, method: str, path: str, allowed: set[str]) -> None:
    async with gateway.client.request(method, path) as response:
        assert response.status == 405
        assert await response.json() == {"error": "this path does not take that method"}
        assert set(response.headers["Allow"].split(",")) == allowed


UNKNOWN = [
    ("/", {"detail": "no such path"}),
    ("/nope", {"detail": "no such path"}),
    ("/stacks/", {"error": "no such path"}),
    ("/stacks/x/y", {"error": "no such path"}),
    ("/users", {"error": "no such path"}),
    ("/users/1", {"error": "no such path"}),
    ("/stacksx", {"detail": "no such path"}),
    ("/api", {"detail": "no such path"}),
    ("/api/v1", {"detail": "no such path"}),
    ("/api/v1/nope", {"detail": "no such path"}),
    ("/api/image/nope/nope", {"success": False, "error": "no such path"}),
    ("/api/system", {"success": False, "error": "no such path"}),
    ("/api/imagex", {"detail": "no such path"}),
    ("/docs/nope.js", {"detail": "no such path"}),
    ("/docs/..%2f..%2fetc%2fpasswd", {"detail": "no such path"}),
    ("/%FF", {"detail": "no such path"}),
]


@pytest.mark.parametrize(("path", "body"), UNKNOWN)
async def test_an_unknown_path_has_the_shape_of_its_family(gateway: Gateway, path: str, body: Any) -> None:
    async with gateway.client.session.get(gateway.client.make_url("/").join(URL(path, encoded=True))) as response:
        assert (response.status, await response.json()) == (404, body)


@pytest.mark.parametrize("path", ["/api/v1/builds/x/y/z", "/api/v1/auth/nope"])
async def test_an_unknown_path_of_the_image_factory(gateway: Gateway, path: str) -> None:
    status, body = await gateway.call("GET", path)
    assert status == 404
    assert body.keys() == {"error", "code", "timestamp", "trace_id", "details"}
    assert (body["error"], body["code"], body["details"]) == ("no such path", "NOT_FOUND", {})


@pytest.mark.parametrize("head", [b"\x16\x03\x01\r\n", b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n"])
async def test_no_http_at_all(gateway: Gateway, head: bytes) -> None:
    answer = await raw(gateway, head)
    assert b"500" not in answer.split(b"\r\n")[0]
    assert b"Traceback" not in answer


async def test_what_nobody_foresaw_is_told_to_no_client(
    gateway: Gateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("api_gateway.wire.stacks.stats", breaks)
    assert await gateway.call("GET", "/stats") == (500, {"error": "internal server error"})
    assert "secret detail" in caplog.text


async def test_headers_of_every_answer(gateway: Gateway) -> None:
    for path in ("/stacks", "/nope", "/docs", "/openapi.json"):
        async with gateway.client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["X-Frame-Options"] == "DENY"


async def test_health(gateway: Gateway) -> None:
    assert await gateway.call("GET", "/healthz") == (200, {"status": "ok"})
    assert await gateway.call("GET", "/health") == (200, {"status": "healthy"})
    assert await gateway.call("GET", "/readyz") == (200, {"ready": True})


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_pages_refer_to_no_other_host(gateway: Gateway, page: str) -> None:
    async with gateway.client.get(page) as response:
        assert response.content_type == "text/html"
        html = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    links = re.findall(r"""(?:href|src|spec-url|url)\s*[=:(]\s*["']?([^"'\s>)]+)""", html)
    assert "/openapi.json" in links
    for link in links:
        assert link.startswith(("/", "data:")), link
        assert not link.startswith("//")
        if link.startswith("/"):
            async with gateway.client.get(link) as response:
                assert response.status == 200
                assert await response.read()


async def test_the_document_refers_to_no_other_host(gateway: Gateway) -> None:
    status, document = await gateway.call("GET", "/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    assert "://" not in str(document)


async def test_a_create_goes_through_with_a_key(start_gateway: StartGateway, api: FakeApi) -> None:
    async with start_gateway(api_key=KEY) as gateway:
        answer_with(api, placed)
        assert (await gateway.call("POST", "/stacks", ask(), headers={"X-API-KEY": KEY}))[0] == 201


async def test_metrics_count_by_route_and_not_by_what_clients_make_up(start_gateway: StartGateway) -> None:
    async with start_gateway(api_key=KEY) as gateway:  # read from this machine: no key is needed
        before = await _metric(gateway, 'requests_total{method="GET",route="/stacks/{stack_id}",status="404"}')
        for made_up in ("x", "y"):
            assert await status_of(gateway, f"/stacks/{made_up}", X_API_KEY=KEY) == 404
        assert await status_of(gateway, "/made/up", "PROPFIND", X_API_KEY=KEY) == 404
        after = await _metric(gateway, 'requests_total{method="GET",route="/stacks/{stack_id}",status="404"}')
        assert after - before == 2
        assert await _metric(gateway, 'requests_total{method="other",route="other",status="404"}') >= 1


async def _metric(gateway: Gateway, name: str) -> float:
    async with gateway.client.get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
        assert "made/up" not in text
        return next((float(x.split()[-1]) for x in text.splitlines() if x.startswith(f"slipway_http_{name}")), 0)
