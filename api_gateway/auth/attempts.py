"""How often someone may fail to log in."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

SECONDS = 60.0
MOST = 10_000  # who failed last; older ones are forgotten


class Attempts:
    """Failures of the last minute, by whom. limit: how many there may be before the next try is refused."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, *whom: str) -> float:
        """Seconds until all of them may try again; 0: now."""
        now = self._clock()
        full = [times[0] for who in whom if len(times := self._failures.get(who, deque())) == self._limit]
        return max([0.0, *(first + SECONDS - now for first in full)])

    def failed(self, *whom: str) -> None:
        for who in whom:
            self._failures.setdefault(who, deque(maxlen=self._limit)).append(self._clock())
            self._failures.move_to_end(who)
        while len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def forgive(self, *whom: str) -> None:
        """The last failure was none."""
        for who in whom:
            if times := self._failures.get(who):
                times.pop()


def client_of(address: str | None) -> str:
    """Whom an address stands for: of IPv6, the network that one subscriber has."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "client unknown"
    if isinstance(parsed, IPv6Address) and not parsed.ipv4_mapped:
        return f"client {IPv6Address(int(parsed) >> 64 << 64)}/64"
    return f"client {getattr(parsed, 'ipv4_mapped', None) or parsed}"


def name_of(user: str) -> str:
    return f"user {user}"
