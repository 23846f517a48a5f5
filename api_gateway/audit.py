"""One line for each request that would change something, whatever came of it. Never bodies or credentials."""

import logging
import time
from urllib.parse import quote

from aiohttp import web

from api_gateway.principal import PRINCIPAL, UNKNOWN
from api_gateway.routing import Handler, is_mutation, pattern
from slipway.log import AUDIT

log = logging.getLogger(AUDIT)

MADE = web.RequestKey("made", str)
"""Id of what a request has made, which its path does not name."""
ABSENT = "-"
LONGEST = 256  # characters of what a client chooses


@web.middleware
async def audit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outside of what answers errors, so that it sees the final status; inside of what gives the request its id."""
    if not is_mutation(request):
        return await handler(request)
    start, status = time.perf_counter(), 0
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:  # status 0: cut off by the gateway's own end
        _write(request, status, round((time.perf_counter() - start) * 1000))


def _write(request: web.Request, status: int, milliseconds: int) -> None:
    fields: dict[str, str | int] = {
        **_who(request, status),
        "client": request.remote or ABSENT,
        "method": request.method,
        "route": pattern(request) or ABSENT,
        "resource": _resource(request),
        "status": status,
        "ms": milliseconds,
    }
    log.info(" ".join(f"{name}={_word(value)}" for name, value in fields.items()), extra=fields)


def _who(request: web.Request, status: int) -> dict[str, str]:
    """The principal; of a request that was let in as nobody there is none."""
    principal = request.get(PRINCIPAL, UNKNOWN)
    if principal is UNKNOWN or status == 401:
        return {"who": ABSENT, "tenant": ABSENT}
    return {"who": principal.name, "tenant": principal.tenant or ABSENT}


def _resource(request: web.Request) -> str:
    made = request.get(MADE)
    named = [*request.match_info.values(), *([made] if made else [])]
    return "/".join(named)[:LONGEST] or ABSENT


def _word(value: str | int) -> str:
    """A value that cannot pass for another field."""
    return quote(str(value), safe="/:@.+{}~", errors="backslashreplace")
