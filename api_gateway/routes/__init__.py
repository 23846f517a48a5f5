"""All routes of the gateway."""

from api_gateway.routes import auth, stacks, system

OPERATIONS = (*stacks.OPERATIONS, *auth.OPERATIONS, *system.OPERATIONS)
