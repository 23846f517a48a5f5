"""The Kubernetes API: the only importer of the kubernetes client, and where its errors stop."""

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration

from slipway import errors
from slipway.api.kinds import Kind
from slipway.api.meta import Object, ObjectMeta

FIELD_MANAGER = "slipway"

RETRY_DELAYS = (0.1, 0.4, 1.6)  # seconds
PAGE = 100  # objects in one answer to a list
WATCH_SECONDS = 300  # the server ends a watch after this long
WATCH_SILENCE_SECONDS = 70  # bookmarks come every 60 s: no word for longer means that the watch is dead

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_TEXTS = (  # what the API server tells apart by its message alone
    (403, re.compile(r"status unknown for quota|is being terminated"), errors.Unavailable),
    (403, re.compile(r"(exceeded|failed) quota"), errors.QuotaExceeded),
    (403, re.compile(r"(maximum|minimum) \S+ usage per|max limit to request ratio per"), errors.LimitRangeExceeded),
    (422, re.compile(r"provided port is already allocated"), errors.PortTaken),
    (422, re.compile(r"provided port is not in the valid range"), errors.PortOutOfRange),
    (403, re.compile(r"cannot \S+ resource"), errors.Forbidden),
)
_CODES: dict[int, type[errors.ApiError]] = {
    401: errors.Unavailable,  # the token is about to be renewed, or nothing works at all
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Gone,
    429: errors.Throttled,
}


# What the network, the token's file and a proxy that sends a page in place of JSON can raise.
_TROUBLE = (aiohttp.ClientError, OSError, ValueError, kube_config.ConfigException)


class Cluster:
    """One connection to the API server. Every method raises `errors.ApiError` subclasses and nothing else.

    Reads, updates and deletes are tried again while the server is unavailable; a create only
    when the server has surely not seen it. may_write: asked right before each write is sent.
    """

    def __init__(self, client: ApiClient, seconds: float, may_write: Callable[[], bool]) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._may_write = may_write

    @classmethod
    @asynccontextmanager
    async def connect(cls, seconds: float, may_write: Callable[[], bool] = lambda: True) -> AsyncIterator[Self]:
        """Connect as the pod's ServiceAccount, else as KUBECONFIG says. seconds: the most that one call may take."""
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                kube_config.load_incluster_config(client_configuration=configuration)
            else:
                await kube_config.load_kube_config(client_configuration=configuration)
        except (*_TROUBLE, yaml.YAMLError, KeyError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise errors.Unavailable(f"no cluster to connect to: is KUBECONFIG right? ({reason})") from error
        configuration.connection_pool_maxsize = 256
        # Looking for a proxy in the environment costs a thread at each call; kubeconfig's proxy-url is still heard.
        configuration.client_session_kwargs = {"trust_env": False}
        client = ApiClient(configuration)
        try:
            yield cls(client, seconds, may_write)
        finally:
            await client.close()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return await self._call("GET", _path(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str = "", labels: str = "") -> tuple[list[Object], str]:
        """All objects, page by page, and the resourceVersion to watch from. labels: a label selector."""
        query = {"limit": str(PAGE), "labelSelector": labels}
        items: list[Object] = []
        while True:
            page = await self._call("GET", _path(kind, namespace), query)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = token

    async def watch(
        self, kind: Kind, namespace: str, version: str, labels: str = ""
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Changes since `version` as (ADDED|MODIFIED|DELETED|BOOKMARK, object) until the server ends the watch.

        Raises Gone when `version` is too old, Unavailable when the connection breaks or falls silent.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "labelSelector": labels,
        }
        limits = aiohttp.ClientTimeout(sock_connect=self._timeout.total, sock_read=WATCH_SILENCE_SECONDS)
        try:
            async with await self._send("GET", _path(kind, namespace), query, limits=limits) as response:
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _error(event["object"].get("code", 500), event["object"])
                    yield event["type"], event["object"]
        except (*_TROUBLE, KeyError, TypeError) as error:  # or a line that is no event
            raise errors.Unavailable(f"the watch of {kind.plural} broke ({type(error).__name__})") from error

    async def create(self, kind: Kind, body: Object, namespace: str = "") -> Object:
        """Create, or raise AlreadyExists."""
        return await self._call("POST", _path(kind, namespace), {"fieldManager": FIELD_MANAGER}, body)

    async def update(self, kind: Kind, body: Object) -> Object:
        """Replace the version that `body` was read from, else Conflict."""
        path = _path(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        return await self._call("PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    async def patch(self, kind: Kind, metadata: ObjectMeta, body: Object) -> Object:
        """Merge `body` into this very object (its UID), whatever its version, else Conflict."""
        path = _path(kind, metadata.namespace, metadata.name)
        guard = {"metadata": {"uid": metadata.uid}}
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, guard | body, MERGE_PATCH)

    async def patch_status(self, kind: Kind, metadata: ObjectMeta, status: Object) -> Object:
        """Write status fields (None removes one) of the version that `metadata` was read from, else Conflict."""
        guard = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        path = _path(kind, metadata.namespace, metadata.name) + "/status"
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("PATCH", path, query, {"metadata": guard, "status": status}, MERGE_PATCH)

    async def delete(self, kind: Kind, metadata: ObjectMeta, *, unchanged: bool = False) -> None:
        """Delete this very object (its UID), and then what it owns. One that is gone already is fine.

        unchanged: only in the version that `metadata` was read from, else Conflict.
        """
        preconditions = {"uid": metadata.uid} | ({"resourceVersion": metadata.resource_version} if unchanged else {})
        body = {"propagationPolicy": "Background", "preconditions": preconditions}
        try:
            await self._call("DELETE", _path(kind, metadata.namespace, metadata.name), body=body)
        except errors.NotFound:
            return
        except errors.Conflict:  # or another object has that name by now
            if unchanged:
                raise

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        try:
            async with asyncio.timeout(self._timeout.total):
                return await self._try(method, path, query, body, content_type)
        except TimeoutError as error:
            raise errors.Unavailable("the API server does not answer in time") from error

    async def _try(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str
    ) -> Object:
        for delay in (*RETRY_DELAYS, None):
            if method != "GET" and not self._may_write():
                raise errors.NotLeading("another operator leads by now")
            try:
                async with await self._send(method, path, query, body, content_type, self._timeout) as response:
                    answer: Object = json.loads(await response.read())
                    return answer
            except errors.Unavailable as error:
                unseen = isinstance(error, errors.Throttled)
                failure = error
            except TimeoutError:
                raise
            except _TROUBLE as error:
                unseen = isinstance(error, aiohttp.ClientConnectorError)
                failure = errors.Unavailable(f"the API server cannot be reached ({type(error).__name__})")
            if delay is None or (method == "POST" and not unseen):
                raise failure
            await asyncio.sleep(delay)
        raise AssertionError("the last delay is None")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        body: Object | None = None,
        content_type: str = JSON,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Content-Type": content_type, "Accept": JSON, "User-Agent": FIELD_MANAGER}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = f"{self._client.configuration.host}{path}?{urlencode({k: v for k, v in query.items() if v})}"
        answer = await self._client.rest_client.request(method, url, headers, body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        if response.status >= 400:
            async with response:
                text = await response.text(errors="replace")
            raise _error(response.status, _status_of(text))
        return response


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace and kind.namespaced:
        parts += ["namespaces", namespace]
    parts += [kind.plural, name] if name else [kind.plural]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _status_of(text: str) -> Mapping[str, Any]:
    """The `metav1.Status` in a failed answer; proxies and timeouts send plain text instead."""
    try:
        status = json.loads(text)
    except ValueError:
        return {"message": text[:500]}
    return status if isinstance(status, dict) else {"message": text[:500]}


def _error(code: int, status: Mapping[str, Any]) -> errors.ApiError:
    message = str(status.get("message") or f"HTTP {code}")
    return _error_class(code, str(status.get("reason")), message)(message)


def _error_class(code: int, reason: str, message: str) -> type[errors.ApiError]:
    for wanted, pattern, error in _TEXTS:
        if code == wanted and pattern.search(message):
            return error
    if reason == "AlreadyExists":
        return errors.AlreadyExists
    return _CODES.get(code, errors.Unavailable if code >= 500 else errors.Rejected)
