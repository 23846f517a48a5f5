"""The Secret of who may, kept in memory."""

import logging

from api_gateway.auth.refreshed import Refreshed
from slipway.access.records import NOBODY, AccessTable
from slipway.access.secret import read
from slipway.cluster import Cluster
from slipway.errors import ApiError, NotFound

log = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
REREAD_SECONDS = 1.0


class Directory:
    """Users, keys and signing keys. What was read last stays while the Secret or the API server is away."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._said = ""
        self._refreshed = Refreshed(self._read, REREAD_SECONDS)
        self.table: AccessTable = NOBODY

    async def run(self) -> None:
        await self._refreshed.run()

    async def fresh(self) -> None:
        """Once more, for whom the table does not know: it may be new."""
        await self._refreshed.fresh()

    async def _read(self) -> float:
        try:
            self.table = await read(self._cluster, self._namespace)
            self._say(f"left out: {', '.join(self.table.unreadable)}" if self.table.unreadable else "")
        except NotFound as error:
            self._say(str(error) if self.table is not NOBODY else "")
        except ApiError as error:
            self._say(str(error))
        return REFRESH_SECONDS

    def _say(self, trouble: str) -> None:
        """Log trouble when it begins, not each time."""
        if trouble and trouble != self._said:
            log.warning("users and keys cannot all be read, the last ones known stay: %s", trouble)
        self._said = trouble
