"""Passwords judged: slowly, few at once, and not too often."""

import asyncio
from collections import Counter
from math import ceil

from api_gateway.auth.attempts import Attempts, client_of, name_of
from api_gateway.auth.directory import Directory
from api_gateway.problems import Problem
from slipway.access import passwords
from slipway.access.records import User

AT_ONCE = 2  # each takes 64 MiB
WAITING = 200
WAITING_OF_ONE = 20  # client; so that nobody keeps everybody else out
NAME_FACTOR = 10
"""Who guesses from many addresses is slowed down; but nobody may lock a user out with a few guesses from one."""


class Logins:
    """Unknown users and wrong passwords get the same answer, after the same time."""

    def __init__(self, directory: Directory, limit: int) -> None:
        self._directory = directory
        self._by_client = Attempts(limit)
        self._by_name = Attempts(NAME_FACTOR * limit)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting: Counter[str] = Counter()

    async def user(self, address: str | None, name: str, password: str) -> User:
        """The user whose password it is. Raises Problem 401, 429 or 503."""
        if not self._directory.table.signing:
            await self._directory.fresh()
        if not self._directory.table.signing:
            raise Problem(503, "there is no key to sign tokens with: `slipway user add` makes the first one")
        client, who = client_of(address), name_of(name)
        known = self._directory.table.users.get(name)
        if await self._fits(client, who, known, password):
            return self._present(known)
        self._by_client.failed(client)
        self._by_name.failed(who)
        await self._directory.fresh()
        now = self._directory.table.users.get(name)
        if now != known and await self._fits(client, who, now, password, again=True):
            self._by_client.forgive(client)
            self._by_name.forgive(who)
            return self._present(now)
        raise Problem(401, "the user name or the password is wrong", {"WWW-Authenticate": "Bearer"})

    @staticmethod
    def _present(user: User | None) -> User:
        assert user is not None, "nobody has no password that fits"
        return user

    async def _fits(self, client: str, who: str, user: User | None, password: str, *, again: bool = False) -> bool:
        """again: the same try, of which a failure has been counted already."""
        self._admit(client, who, again=again)
        if self._waiting.total() >= WAITING or self._waiting[client] >= WAITING_OF_ONE:
            raise Problem(503, "too many logins at once", {"Retry-After": "1"})
        self._waiting[client] += 1
        try:
            async with self._slots:
                self._admit(client, who, again=again)  # those before it in the queue may have failed by now
                return await asyncio.to_thread(passwords.fits, user.hash if user else None, password)
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]

    def _admit(self, client: str, who: str, *, again: bool) -> None:
        seconds = 0.0 if again else max(self._by_client.wait(client), self._by_name.wait(who))
        if seconds > 0:
            raise Problem(429, "too many failed logins: try again later", {"Retry-After": str(ceil(seconds))})
