"""The gateway's pages and open routes, as a user's tools see them."""

import urllib.request
from typing import Any

from tests.support.product import Product, rest


def test_health(product: Product) -> None:
    assert rest("GET", f"{product.gateway}/healthz") == (200, {"status": "ok"})
    assert rest("GET", f"{product.gateway}/health") == (200, {"status": "healthy"})
    assert rest("GET", f"{product.gateway}/readyz") == (200, {"ready": True})


def test_unknown_paths_keep_each_familys_shape(product: Product) -> None:
    shapes: dict[str, Any] = {"/stacks/no/such": {"error"}, "/api/v1/nope": {"detail"}, "/nope": {"detail"}}
    shapes |= {"/api/image/nope": {"success", "error"}}
    shapes |= {"/api/v1/builds/1": {"error", "code", "timestamp", "trace_id", "details"}}
    for path, keys in shapes.items():
        code, body = rest("GET", product.gateway + path)
        assert (code, set(body)) == (404, keys), path


def test_pages_load_from_the_gateway_alone(product: Product) -> None:
    for path in ("/docs", "/redoc", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/redoc.standalone.js"):
        with urllib.request.urlopen(product.gateway + path, timeout=10) as response:
            assert response.status == 200
            if path in ("/docs", "/redoc"):
                assert b"://" not in response.read()
