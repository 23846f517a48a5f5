"""The app's typed keys: what handlers find in it."""

from aiohttp import web

from api_gateway.auth.service import Auth
from api_gateway.store import Store
from slipway.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
STACKS = web.AppKey("stacks", Store)
STORES = web.AppKey("stores", tuple[Store, ...])
AUTH = web.AppKey("auth", Auth)
OPENAPI = web.AppKey("openapi", bytes)
