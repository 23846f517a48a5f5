"""Around every handler: what an error looks like, and what a browser may make of an answer."""

import logging

from aiohttp import web

from api_gateway import problems
from api_gateway.routing import Handler

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


@web.middleware
async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No answer is ever guessed to be a page, or framed by one."""
    response = await handler(request)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("X-Frame-Options", "DENY")
    return response
