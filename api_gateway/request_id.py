"""One name for a request: in the answer, in every line of the log, in the errors that carry one."""

import re
from uuid import uuid4

from aiohttp import web

from api_gateway.routing import Handler
from slipway import log

HEADER = "X-Request-ID"
WELL_FORMED = re.compile(r"[\x21-\x7e]{1,128}")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the client's own id if it is visible ASCII of at most 128 characters, or make one."""
    given = request.headers.get(HEADER, "")
    identity = given if WELL_FORMED.fullmatch(given) else uuid4().hex
    token = log.request_id.set(identity)
    try:
        response = await handler(request)
    finally:
        log.request_id.reset(token)
    response.headers[HEADER] = identity
    return response
