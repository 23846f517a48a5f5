"""HTTP by route, for Prometheus."""

import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api_gateway.routing import Handler

REGISTRY = CollectorRegistry()
REQUESTS = Counter("slipway_http_requests", "Answers sent", ["method", "route", "status"], registry=REGISTRY)
SECONDS = Histogram("slipway_http_request_seconds", "From request to answer", ["method", "route"], registry=REGISTRY)
OTHER = "other"  # what a client makes up must not become a label


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count each answer by its route's pattern; to be the outermost middleware."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource else OTHER
    method = request.method if resource else OTHER
    start = time.perf_counter()
    response = await handler(request)
    SECONDS.labels(method, route).observe(time.perf_counter() - start)
    REQUESTS.labels(method, route, response.status).inc()
    return response


async def metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
