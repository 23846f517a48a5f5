"""Health and documentation: open to everyone."""

from importlib.resources import files

from aiohttp import web
from pydantic import BaseModel

from api_gateway.keys import OPENAPI, STORES
from api_gateway.metrics import metrics
from api_gateway.routing import Operation, json_response

TAG = "System"

ASSETS = {
    "swagger-ui.css": ("flask_openapi3_swagger", "templates/swagger/css/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("flask_openapi3_swagger", "templates/swagger/js/swagger-ui-bundle.js", "text/javascript"),
    "redoc.standalone.js": ("flask_openapi3_redoc", "templates/redoc/js/redoc.standalone.js", "text/javascript"),
}
"""Files of the two page bundles that we serve: (package, path in it, type)."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Slipway API</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
{body}
</body>
</html>
"""

POLICY = (  # no host but ours; ReDoc would load its logo from afar, and searches in a worker that it makes itself
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)

SWAGGER = PAGE.format(
    head='<link rel="stylesheet" href="/docs/swagger-ui.css">',
    body="""<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
</script>""",
)

REDOC = PAGE.format(
    head="<style>body { margin: 0; }</style>",
    body="""<redoc spec-url="/openapi.json"></redoc>
<script src="/docs/redoc.standalone.js"></script>""",
)


class Ok(BaseModel):
    status: str = "ok"


class Healthy(BaseModel):
    status: str = "healthy"


class Ready(BaseModel):
    """Whether the watch caches follow the cluster."""

    ready: bool


async def healthz(request: web.Request) -> web.Response:
    """A watch that hangs is cured by a restart alone; an API server that is away is not."""
    for store in request.app[STORES]:
        if late := store.overdue:
            text = f"the watch of {store.kind.plural} hangs: no sign of life, {late:.0f} s beyond the longest silence"
            return json_response(Ok(status=text), status=503)
    return json_response(Ok())


async def health(_: web.Request) -> web.Response:
    return json_response(Healthy())


async def readyz(request: web.Request) -> web.Response:
    ready = all(store.synced for store in request.app[STORES])
    return json_response(Ready(ready=ready), status=200 if ready else 503)


async def openapi(request: web.Request) -> web.Response:
    return web.Response(body=request.app[OPENAPI], content_type="application/json")


async def swagger(_: web.Request) -> web.Response:
    return _page(SWAGGER)


async def redoc(_: web.Request) -> web.Response:
    return _page(REDOC)


def _page(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": POLICY})


async def asset(request: web.Request) -> web.Response:
    found = ASSETS.get(request.match_info["file"])
    if found is None:
        raise web.HTTPNotFound
    package, path, media = found
    headers = {"Cache-Control": "public, max-age=86400"}
    return web.Response(body=files(package).joinpath(path).read_bytes(), content_type=media, headers=headers)


OPERATIONS = (
    Operation(
        "GET",
        "/healthz",
        healthz,
        "Whether the process lives, and its watches",
        TAG,
        returns=Ok,
        errors={503: "a watch hangs: the process is to be started anew"},
        access="open",
    ),
    Operation("GET", "/health", health, "Whether the process lives", TAG, returns=Healthy, access="open"),
    Operation(
        "GET",
        "/readyz",
        readyz,
        "Whether answers are up to date",
        TAG,
        returns=Ready,
        errors={503: "the watch of the cluster is down: answers may be old"},
        access="open",
    ),
    Operation(
        "GET",
        "/metrics",
        metrics,
        "Requests, limits and watches, for Prometheus",
        TAG,
        media="text/plain",
        access="local",
        permission="stack:list",
    ),
    Operation("GET", "/openapi.json", openapi, "This document", TAG, access="open"),
    Operation("GET", "/docs", swagger, "Swagger UI", TAG, media="text/html", access="open"),
    Operation("GET", "/docs/{file}", asset, "Scripts and styles of the pages", TAG, media="*/*", access="open"),
    Operation("GET", "/redoc", redoc, "ReDoc", TAG, media="text/html", access="open"),
)
