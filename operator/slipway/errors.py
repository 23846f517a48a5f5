"""What can go wrong, in the domain's words. Interfaces turn these into conditions or HTTP answers."""


class SlipwayError(Exception):
    """Base of every error Slipway raises on purpose. `str(error)` is one line meant for a person."""


class InvalidInput(SlipwayError):
    """A value someone gave us is not acceptable.

    field: dotted path to the value (`spec.containers[0].image`, `target_port`), "" for the whole input.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}" if field else expected)
        self.field = field
        self.expected = expected


class CannotListen(SlipwayError):
    """The address for health and metrics cannot be had."""


class NotRenewable(SlipwayError):
    """A Stack has ended, or already lives as long as it may."""


class ApiError(SlipwayError):
    """The API server said no. `str(error)` is its message."""


class NotFound(ApiError):
    """No such object."""


class AlreadyExists(ApiError):
    """The name is taken."""


class Conflict(ApiError):
    """The object changed since we read it (resourceVersion or UID precondition)."""


class Rejected(ApiError):
    """The object is not acceptable to the API server, and will not be on the next try either."""


class PortTaken(Rejected):
    """The node port belongs to another Service."""


class PortOutOfRange(Rejected):
    """The cluster gives out no such node port."""


class LimitRangeExceeded(Rejected):
    """A LimitRange of the namespace forbids the pod."""


class QuotaExceeded(ApiError):
    """A ResourceQuota of the namespace leaves no room."""


class Forbidden(ApiError):
    """Our ServiceAccount lacks a right: see manifests/."""


class Gone(ApiError):
    """The watch's resourceVersion is too old: list again."""


class Unavailable(ApiError):
    """The API server cannot be reached, or is overloaded; worth another try."""


class Throttled(Unavailable):
    """The API server refused the call unseen, to protect itself."""


class NotLeading(Unavailable):
    """Nothing was sent: this operator's lease has run out."""


class MirrorError(SlipwayError):
    """The table that mirrors the Stacks cannot be read or written; worth another try."""


class MirrorThrottled(MirrorError):
    """It has no capacity left for now; what was to be written was not."""
