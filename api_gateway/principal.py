"""Who a request speaks for."""

from dataclasses import dataclass

from aiohttp import web

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """A client whose credentials were found good, or who needs none.

    name: for the audit and the limits: `user:alice`, `key:ci`, `oidc:SUBJECT`, `anonymous`.
    tenant: the only one it sees and makes resources for; "": every one.
    permissions: `stack:create`; `stack:*` for all of a domain, `*` for all there are.
    """

    name: str
    tenant: str = ""
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        domain = permission.partition(":")[0]
        return not self.permissions.isdisjoint({permission, f"{domain}:*", EVERYTHING})

    def sees(self, tenant: str) -> bool:
        """Whether a resource of that tenant is its business."""
        return self.tenant in ("", tenant)


PRINCIPAL = web.RequestKey("principal", Principal)
UNKNOWN = Principal("anonymous")
"""Who has not been asked, or whose credentials are bad."""
ANONYMOUS = Principal("anonymous", permissions=frozenset({EVERYTHING}))
"""Who brings no credentials where none are asked for."""
