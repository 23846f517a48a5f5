"""The login: a password for a token."""

from aiohttp import web

from api_gateway.auth.service import COOKIE
from api_gateway.keys import AUTH, SETTINGS
from api_gateway.principal import PRINCIPAL
from api_gateway.routing import Operation, json_response
from api_gateway.wire import auth as wire
from api_gateway.wire.body import read


async def login(request: web.Request) -> web.Response:
    """The token, also as a cookie, so that a browser can load pages and images that need it."""
    body = await read(request, wire.Login)
    password = body.password.get_secret_value()
    token, request[PRINCIPAL] = await request.app[AUTH].login(request.remote, body.username, password)
    seconds = int(request.app[SETTINGS].token_life)
    response = json_response(wire.Token(access_token=token, expires_in=seconds))
    response.headers["Cache-Control"] = "no-store"
    secure = _by_https(request)
    response.set_cookie(COOKIE, token, max_age=seconds, path="/", httponly=True, samesite="Strict", secure=secure)
    return response


def _by_https(request: web.Request) -> bool:
    """As the client sees it: the first of the proxies on the way says so."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/auth/login",
        login,
        "Log in with a password",
        "Access",
        body=wire.Login,
        returns=wire.Token,
        errors={
            400: "invalid request body",
            401: "the user name or the password is wrong",
            413: "the request body is too large",
            429: "too many failed logins of this client or of this user; Retry-After says for how long",
            503: "there is no signing key, or too many log in at once",
        },
        access="open",
    ),
)
