"""All routes of the gateway."""

from api_gateway.routes import stacks, system

OPERATIONS = (*stacks.OPERATIONS, *system.OPERATIONS)
