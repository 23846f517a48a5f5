"""`Cluster` without HTTP: the calls over a FakeApi, with a write log and a death on request."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, NoReturn

from slipway.api.kinds import Kind
from slipway.api.meta import Object, ObjectMeta
from slipway.cluster import Cluster, _error
from slipway.errors import Conflict, NotFound, NotLeading
from tests.support.api_answers import Answer
from tests.support.fake_api import Event, FakeApi, Write, matches


class FakeCluster(Cluster):
    """Errors are mapped by the real table. dies_after: the process is gone once that many writes are through."""

    def __init__(self, api: FakeApi, dies_after: int | None = None) -> None:
        self.api = api
        self._left = dies_after
        self.deaf_to: Callable[[Event], bool] = lambda _: False
        """Events that its watches lose."""
        self.died = asyncio.Event()
        self.leads = True
        """Whether its lease holds."""
        self.runs = asyncio.Event()
        """Cleared, the process is paused."""
        self.runs.set()
        self.slips = False
        """Whether a pause comes between the look at the lease and the write."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        found: Object = await self._called(lambda: self.api.get(kind, name))
        return found

    async def list(self, kind: Kind, namespace: str = "", labels: str = "") -> tuple[list[Object], str]:
        found: tuple[list[Object], str] = await self._called(lambda: self.api.list_all(kind, labels))
        return found

    async def watch(
        self, kind: Kind, namespace: str, version: str, labels: str = ""
    ) -> AsyncGenerator[tuple[str, Object], None]:
        await self._called(lambda: self.api.check_watch(kind, int(version)))
        async for event in self.api.watch(kind, int(version)):
            await self.runs.wait()
            if self.died.is_set():
                await self._hang()
            if matches(event.obj, labels) and not self.deaf_to(event):
                yield event.change, event.obj

    async def create(self, kind: Kind, body: Object, namespace: str = "") -> Object:
        made: Object = await self._wrote("create", kind, body["metadata"]["name"], lambda: self.api.create(kind, body))
        return made

    async def update(self, kind: Kind, body: Object) -> Object:
        made: Object = await self._wrote("update", kind, body["metadata"]["name"], lambda: self.api.update(kind, body))
        return made

    async def patch(self, kind: Kind, metadata: ObjectMeta, body: Object) -> Object:
        name, uid = metadata.name, metadata.uid
        made: Object = await self._wrote("patch", kind, name, lambda: self.api.patch(kind, name, uid, body))
        return made

    async def patch_status(self, kind: Kind, metadata: ObjectMeta, status: Object) -> Object:
        body = {"metadata": {"resourceVersion": metadata.resource_version}, "status": status}
        name = metadata.name
        made: Object = await self._wrote("patch_status", kind, name, lambda: self.api.patch_status(kind, name, body))
        return made

    async def delete(self, kind: Kind, metadata: ObjectMeta, *, unchanged: bool = False) -> None:
        name, uid, version = metadata.name, metadata.uid, metadata.resource_version if unchanged else ""
        try:
            await self._wrote("delete", kind, name, lambda: self.api.delete(kind, name, uid, version))
        except NotFound:
            return
        except Conflict:
            if unchanged:
                raise

    async def _wrote(self, verb: str, kind: Kind, name: str, do: Callable[[], Any]) -> Any:
        if not self.slips:
            await self.runs.wait()
        if not self.leads:
            raise NotLeading("another operator leads by now")
        answer = await self._called(do)
        self.api.writes.append(Write(verb, kind.plural, name))
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.died.set()
                await self._hang()  # the answer never arrives
        return answer

    async def _called(self, do: Callable[[], Any]) -> Any:
        await self.runs.wait()
        await asyncio.sleep(0)  # as every call takes its time, others get a turn
        if self.died.is_set():
            await self._hang()
        try:
            answer = do()
        except Answer as refusal:
            raise _error(refusal.code, refusal.status) from None
        await asyncio.sleep(0)
        if self.died.is_set():
            await self._hang()
        return answer

    async def _hang(self) -> NoReturn:
        while True:
            await asyncio.Event().wait()
