"""Around every handler: who may, and what an error looks like."""

import hmac
import logging
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from api_gateway import problems
from api_gateway.principal import ANONYMOUS, PRINCIPAL
from api_gateway.routing import Access, Handler
from slipway.settings import Settings

log = logging.getLogger(__name__)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors become answers in the shape of their API; what nobody foresaw is logged, and told to no client."""
    try:
        return await handler(request)
    except Exception as error:
        problem = problems.to_problem(error)
        if problem is None:
            log.exception("%s %s failed", request.method, request.path)
            problem = problems.Problem(500, "internal server error")
        answer = problems.response(request.path, problem)
        if problem.status_code in (408, 413):
            answer.force_close()  # the rest of the body is not waited for
        return answer


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def guard(settings: Settings, access: Mapping[str, Access]) -> Middleware:
    """Lets a request through that brings the key or, where no key is set, that comes from this machine's own pages.

    Without a key the gateway listens on loopback alone; Host and Origin keep foreign web pages out (DNS rebinding,
    cross-site requests). access: of each route's pattern.
    """
    key = settings.api_key.get_secret_value().encode() if settings.api_key else None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PRINCIPAL] = ANONYMOUS
        if key is None:
            _check_local(request)
        elif not _needs_no_key(request, access):
            given = request.headers.get("X-API-KEY", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, key):
                raise problems.Problem(401, "X-API-KEY: a valid API key is required")
        return await handler(request)

    return check


def _needs_no_key(request: web.Request, access: Mapping[str, Access]) -> bool:
    resource = request.match_info.route.resource
    match access.get(resource.canonical) if resource else None:
        case "open":
            return True
        case "local":
            return is_loopback(request.remote or "")
    return False


def _check_local(request: web.Request) -> None:
    if not is_loopback(_host_of(f"//{request.host}")):
        raise problems.Problem(403, "Host: without an API key only this machine's own names are served")
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise problems.Problem(403, "Origin: without an API key only pages of this machine may call")


@web.middleware
async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No answer is ever guessed to be a page, or framed by one."""
    response = await handler(request)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("X-Frame-Options", "DENY")
    return response
