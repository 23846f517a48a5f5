"""Passwords judged: slowly, few at once, and not too often."""

import asyncio
from math import ceil

from api_gateway.auth.attempts import Attempts, client_of, name_of
from api_gateway.auth.directory import Directory
from api_gateway.problems import Problem
from slipway.access import passwords
from slipway.access.records import User

AT_ONCE = 2  # each takes 64 MiB
WAITING = 200


class Logins:
    """Unknown users and wrong passwords get the same answer, after the same time."""

    def __init__(self, directory: Directory, limit: int) -> None:
        self._directory = directory
        self._attempts = Attempts(limit)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def user(self, address: str | None, name: str, password: str) -> User:
        """The user whose password it is. Raises Problem 401, 429 or 503."""
        if not self._directory.table.signing:
            await self._directory.fresh()
        if not self._directory.table.signing:
            raise Problem(503, "there is no key to sign tokens with: `slipway user add` makes the first one")
        whom = (client_of(address), name_of(name))
        known = self._directory.table.users.get(name)
        if await self._fits(whom, known, password):
            return self._present(known)
        self._attempts.failed(*whom)
        await self._directory.fresh()
        now = self._directory.table.users.get(name)
        if now != known and await self._fits((), now, password):
            self._attempts.forgive(*whom)
            return self._present(now)
        raise Problem(401, "the user name or the password is wrong", {"WWW-Authenticate": "Bearer"})

    @staticmethod
    def _present(user: User | None) -> User:
        assert user is not None, "nobody has no password that fits"
        return user

    async def _fits(self, whom: tuple[str, ...], user: User | None, password: str) -> bool:
        self._admit(whom)
        if self._waiting >= WAITING:
            raise Problem(503, "too many logins at once", {"Retry-After": "1"})
        self._waiting += 1
        try:
            async with self._slots:
                self._admit(whom)  # those before it in the queue may have failed by now
                return await asyncio.to_thread(passwords.fits, user.hash if user else None, password)
        finally:
            self._waiting -= 1

    def _admit(self, whom: tuple[str, ...]) -> None:
        seconds = self._attempts.wait(*whom)
        if seconds > 0:
            raise Problem(429, "too many failed logins: try again later", {"Retry-After": str(ceil(seconds))})
