"""What is this machine alone: addresses, hosts, and the pages that may call where nobody is asked for credentials."""

from urllib.parse import urlsplit

from aiohttp import web

from api_gateway.problems import Problem
from slipway.rules.addresses import is_loopback


def check_local(request: web.Request) -> None:
    """Host and Origin keep foreign web pages out (DNS rebinding, cross-site requests)."""
    if not is_loopback(_host_of(f"//{request.host}")):
        raise Problem(403, "Host: without credentials only this machine's own names are served")
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise Problem(403, "Origin: without credentials only pages of this machine may call")


def check_same_origin(request: web.Request) -> None:
    """A browser's page may call only where it came from."""
    origin = request.headers.get("Origin")
    if origin is not None and (_netloc_of(origin) or "null") != request.host.lower():
        raise Problem(403, "Origin: without credentials only this host's own pages may call")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
