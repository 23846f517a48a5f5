"""What the gateway does and knows, for Prometheus."""

import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api_gateway.keys import STORES
from api_gateway.routing import Handler, pattern

REGISTRY = CollectorRegistry()
REQUESTS = Counter("slipway_http_requests", "Answers sent", ["method", "route", "status"], registry=REGISTRY)
SECONDS = Histogram("slipway_http_request_seconds", "From request to answer", ["method", "route"], registry=REGISTRY)
IN_FLIGHT = Gauge("slipway_http_requests_in_flight", "Requests not answered yet", registry=REGISTRY)
LIMITED = Counter(
    "slipway_gateway_limited", "Requests refused because there were too many", ["limit"], registry=REGISTRY
)
SYNCED = Gauge("slipway_gateway_watch_synced", "Whether the watch of a kind runs", ["kind"], registry=REGISTRY)
RESOURCES = Gauge("slipway_gateway_resources", "Resources in the cache", ["kind"], registry=REGISTRY)
OTHER = "other"  # what a client makes up must not become a label


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count each answer by its route's pattern; to be the outermost middleware."""
    route = pattern(request) or OTHER
    method = request.method if route is not OTHER else OTHER
    start = time.perf_counter()
    with IN_FLIGHT.track_inprogress():
        response = await handler(request)
    SECONDS.labels(method, route).observe(time.perf_counter() - start)
    REQUESTS.labels(method, route, response.status).inc()
    return response


async def metrics(request: web.Request) -> web.Response:
    for store in request.app[STORES]:
        SYNCED.labels(store.kind.kind).set(store.synced)
        RESOURCES.labels(store.kind.kind).set(len(store))
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
