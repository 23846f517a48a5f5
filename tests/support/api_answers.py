"""What the API server says when it refuses: copied from Kubernetes 1.34.4, names shortened."""

from dataclasses import dataclass

from slipway.api.meta import Object


@dataclass(eq=False)
class Answer(Exception):
    """A failed call's HTTP status and `metav1.Status`. reason "": the server gave none."""

    code: int
    reason: str
    message: str

    @property
    def status(self) -> Object:
        out = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code}
        return out | {"message": self.message} | ({"reason": self.reason} if self.reason else {})


POD_QUOTA = Answer(
    403,
    "Forbidden",
    'pods "p" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=500m, '
    "used: pods=0,requests.cpu=0, limited: pods=0,requests.cpu=100m",
)
QUOTA_WANTS_A_LIMIT = Answer(
    403, "Forbidden", 'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: app'
)
QUOTA_IS_NEW = Answer(403, "Forbidden", 'pods "p" is forbidden: status unknown for quota: q, resources: pods')
SERVICE_QUOTA = Answer(
    403,
    "Forbidden",
    'services "s" is forbidden: exceeded quota: q, requested: services.nodeports=1, '
    "used: services.nodeports=1, limited: services.nodeports=0",
)
QUOTA_RACED = Answer(
    409,
    "Conflict",
    'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; '
    "please apply your changes to the latest version and try again",
)
LIMIT_MAXIMA = Answer(
    403,
    "Forbidden",
    'pods "p" is forbidden: [maximum cpu usage per Container is 100m, but limit is 500m, '
    "maximum memory usage per Container is 100Mi, but limit is 256Mi, "
    "maximum cpu usage per Pod is 200m, but limit is 500m]",
)
LIMIT_MINIMUM = Answer(
    403, "Forbidden", 'pods "p" is forbidden: minimum cpu usage per Container is 600m, but request is 500m'
)
LIMIT_RATIO = Answer(
    403,
    "Forbidden",
    'pods "p" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000',
)
POD_SECURITY = Answer(
    403,
    "Forbidden",
    'pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true '
    '(pod or container "app" must set securityContext.runAsNonRoot=true)',
)
NO_RIGHT = Answer(
    403,
    "Forbidden",
    'pods is forbidden: User "system:serviceaccount:x:y" cannot list resource "pods" '
    'in API group "" in the namespace "n"',
)
NAMESPACE_ENDS = Answer(
    403,
    "Forbidden",
    'pods "p" is forbidden: unable to create new content in namespace stacks because it is being terminated',
)
PORT_ALLOCATED = Answer(
    422,
    "Invalid",
    'Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 32111: provided port is already allocated',
)
PORT_OUT_OF_RANGE = Answer(
    422,
    "Invalid",
    'Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. '
    "The range of valid ports is 30000-32767",
)
PORT_TWICE = Answer(500, "", "duplicate nodePort: {TCP 32111}")
TWO_CONTROLLERS = Answer(
    422,
    "Invalid",
    'Service "s" is invalid: metadata.ownerReferences: Invalid value: [{"apiVersion":"slipway.dev/v1alpha1",'
    '"kind":"Stack","name":"c","uid":"3","controller":true,"blockOwnerDeletion":true}]: '
    'Only one reference can have Controller set to true. Found "true" in references for Stack/c and Stack/a',
)
INVALID = Answer(422, "Invalid", 'Pod "P" is invalid: spec.containers: Required value')
EXISTS = Answer(409, "AlreadyExists", 'pods "p" already exists')
MODIFIED = Answer(
    409,
    "Conflict",
    'Operation cannot be fulfilled on stacks.slipway.dev "s": the object has been modified; '
    "please apply your changes to the latest version and try again",
)
OTHER_UID = Answer(
    409,
    "Conflict",
    'Operation cannot be fulfilled on Service "s": the UID in the precondition (x) does not match the UID in '
    "record (y). The object might have been deleted and then recreated",
)
NOT_FOUND = Answer(404, "NotFound", 'pods "p" not found')
EXPIRED = Answer(410, "Expired", "too old resource version: 1 (348)")
EXPIRED_PAGE = Answer(
    410,
    "Expired",
    "The provided continue parameter is too old to display a consistent list result.",
)
UNAUTHORIZED = Answer(401, "Unauthorized", "Unauthorized")
TOO_MANY = Answer(429, "TooManyRequests", "Too many requests, please try again later.")
INTERNAL = Answer(
    500,
    "InternalError",
    'Internal error occurred: failed calling webhook "w.example": failed to call webhook: context deadline exceeded',
)
NO_LEADER = Answer(500, "", "etcdserver: no leader")
OVERLOADED = Answer(503, "ServiceUnavailable", "apiserver not ready")
TOO_SLOW = Answer(
    504, "Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded"
)
BAD_REQUEST = Answer(400, "BadRequest", "invalid continue token: continue key is not valid")
