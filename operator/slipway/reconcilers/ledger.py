"""Who holds what among Stacks: pairs, ports, CPU and memory. In memory, rebuilt from the cluster at start."""

from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from time import monotonic

from slipway.api.stack import Stack
from slipway.rules import stack as rules
from slipway.rules.stack import Capacity
from slipway.settings import Settings

User = tuple[str, int]
"""(tenant, user_id)"""
Pair = tuple[User, int]
"""(user, problem_id)"""


@dataclass(slots=True)
class Claim:
    """What one admitted Stack holds."""

    user: User
    problem_id: int
    asked: Capacity
    port: int


class Ledger:
    """Admission of Stacks. No method awaits, so that each decision sees all earlier ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = SystemRandom()
        self._claims: dict[str, Claim] = {}
        self._pairs: dict[Pair, str] = {}
        self._users: dict[User, int] = {}
        self._ports: dict[int, str] = {}
        self._locked: dict[int, float] = {}  # port -> when (monotonic) it may be tried again
        self._reserved = Capacity(0, 0)
        self.capacity = Capacity(0, 0)  # of the nodes; kept by the sweep

    @property
    def ports(self) -> tuple[int, int]:
        """(held by Stacks, all there are)"""
        return len(self._ports), self._settings.stack_nodeport_max - self._settings.stack_nodeport_min + 1

    @property
    def reserved(self) -> Capacity:
        return self._reserved

    def admit(self, stack: Stack, asked: Capacity) -> Claim:
        """The Stack's claim, made now if it has none. Raises Refusal, and then holds nothing."""
        uid, user = stack.metadata.uid, _user(stack)
        claim = self._claims.get(uid)
        if claim and claim.asked == asked:
            return claim
        rules.check_pair(stack, self._pairs.get((user, stack.spec.problem_id)))
        reserved = self._reserved
        if claim:
            reserved = _less(reserved, claim.asked)
        else:
            rules.check_user_limit(stack, self._users.get(user, 0), self._settings.stack_max_per_user)
        rules.check_capacity(asked, reserved, self.capacity, self._settings.stack_resource_reserve_ratio)
        return self.take(stack, asked, claim.port if claim else self._free_port())

    def take(self, stack: Stack, asked: Capacity, port: int) -> Claim:
        """Note a claim without asking: the cluster shows that it was granted."""
        uid, user = stack.metadata.uid, _user(stack)
        self.release(uid)
        claim = self._claims[uid] = Claim(user, stack.spec.problem_id, asked, port)
        self._pairs[user, claim.problem_id] = uid
        self._users[user] = self._users.get(user, 0) + 1
        self._ports[port] = uid
        self._reserved += asked
        return claim

    def another_port(self, uid: str) -> int:
        """The claim's port turned out to be someone else's: leave it alone for a while and take another."""
        claim = self._claims[uid]
        self._locked[claim.port] = monotonic() + self._settings.stack_port_lock_ttl
        port = self._free_port()
        del self._ports[claim.port]
        self._ports[port] = uid
        claim.port = port
        return port

    def forget(self, dead: Callable[[str], bool]) -> None:
        """Release the claims of Stacks that are gone: their own last step may still be under way."""
        for uid in [uid for uid in self._claims if dead(uid)]:
            self.release(uid)

    def release(self, uid: str) -> None:
        """Forget a Stack's claim; fine if it has none."""
        claim = self._claims.pop(uid, None)
        if claim is None:
            return
        if self._pairs.get((claim.user, claim.problem_id)) == uid:
            del self._pairs[claim.user, claim.problem_id]
        if self._ports.get(claim.port) == uid:
            del self._ports[claim.port]
        self._users[claim.user] -= 1
        if not self._users[claim.user]:
            del self._users[claim.user]
        self._reserved = _less(self._reserved, claim.asked)

    def _free_port(self) -> int:
        now = monotonic()
        self._locked = {port: until for port, until in self._locked.items() if until > now}
        low, high = self._settings.stack_nodeport_min, self._settings.stack_nodeport_max
        return rules.choose_port(low, high, self._ports.keys() | self._locked.keys(), self._random)


def _user(stack: Stack) -> User:
    return stack.spec.tenant, stack.spec.user_id


def _less(whole: Capacity, part: Capacity) -> Capacity:
    return Capacity(whole.cpu_milli - part.cpu_milli, whole.memory_bytes - part.memory_bytes)
