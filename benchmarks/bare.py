"""The reference: a bare aiohttp client of the API server, with nothing between it and the wire."""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

JSON = "application/json"
MERGE = "application/merge-patch+json"


class Bare:
    """Calls by path, JSON in and out; any answer of 400 or more raises."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            answer = await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {answer.decode()[:300]}")
            return json.loads(answer) if response.content_type == JSON else answer.decode()

    async def exists(self, path: str) -> bool:
        async with self._session.get(path) as response:
            return response.status < 400

    async def remove(self, path: str, options: Any = None) -> None:
        """DELETE; fine if it is gone already."""
        async with self._session.delete(path, json=options) as response:
            answer = await response.read()
            if response.status >= 400 and response.status != 404:
                raise RuntimeError(f"DELETE {path}: {response.status} {answer.decode()[:300]}")

    async def lines(self, path: str) -> AsyncIterator[Any]:
        """A watch, event by event."""
        async with self._session.get(path, timeout=aiohttp.ClientTimeout(total=600)) as response:
            response.raise_for_status()
            async for line in response.content:
                yield json.loads(line)


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Bare]:
    """As the first user of a kubeconfig, by token or client certificate."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("client-certificate", "client-key"):
                Path(folder, name).write_bytes(base64.b64decode(user[f"{name}-data"]))
            context.load_cert_chain(Path(folder, "client-certificate"), Path(folder, "client-key"))
    connector = aiohttp.TCPConnector(ssl=context, limit=64)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(
        cluster["server"], connector=connector, headers=headers, timeout=timeout
    ) as session:
        yield Bare(session)


async def at_once(limit: int, jobs: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Run all jobs, at most `limit` of them at a time."""
    gate = asyncio.Semaphore(limit)

    async def run(job: Callable[[], Awaitable[Any]]) -> None:
        async with gate:
            await job()

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(run(job))


async def timed(job: Callable[[], Awaitable[Any]]) -> float:
    """How long a job takes, in seconds."""
    start = time.perf_counter()
    await job()
    return time.perf_counter() - start
