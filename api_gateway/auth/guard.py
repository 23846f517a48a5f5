"""The door: every request is let in as somebody, or refused."""

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from api_gateway.auth.local import check_local, check_same_origin
from api_gateway.auth.service import Auth, unauthorized
from api_gateway.principal import ANONYMOUS, PRINCIPAL, UNKNOWN, Principal
from api_gateway.problems import Problem
from api_gateway.routing import Access, Handler, Operation
from slipway.rules.addresses import is_loopback
from slipway.settings import Settings

MISSING = "credentials are required: Authorization: Bearer and a token, or X-API-KEY and a valid API key"


def guard(settings: Settings, operations: Iterable[Operation], auth: Auth) -> Middleware:
    """Credentials that are brought are always judged. Without any, a request is let in where the gateway is anonymous:
    unless a setting says otherwise, on loopback if no key is set. There only this machine's own pages may call.
    """
    local = is_loopback(settings.host)
    anonymous = settings.anonymous if settings.anonymous is not None else local and settings.api_key is None
    check_page = check_local if local else check_same_origin
    routes = {(operation.method, operation.path): operation for operation in operations}

    async def who(request: web.Request, access: Access) -> Principal:
        if access == "open":
            if anonymous:
                check_page(request)
            return UNKNOWN
        if brought := await auth.principal(request):
            if access == "local" and brought.tenant:
                raise Problem(403, "these figures are of all tenants")
            return brought
        if access == "local" and settings.anonymous is not False and is_loopback(request.remote or ""):
            check_local(request)
            return ANONYMOUS
        if access == "local" or not anonymous:
            raise unauthorized(MISSING)
        check_page(request)
        return ANONYMOUS

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PRINCIPAL] = UNKNOWN
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        operation = routes.get((method, resource.canonical)) if resource else None
        request[PRINCIPAL] = principal = await who(request, operation.access if operation else "key")
        if operation and operation.permission and not principal.may(operation.permission):
            raise Problem(403, f"the permission {operation.permission} is missing")
        return await handler(request)

    return check
