"""A real Kubernetes for the tests and the demo: one given, kind, or one built from packages."""

from tests.testbed.choose import open_cluster
from tests.testbed.errors import ClusterError
from tests.testbed.interface import Cluster, ComponentStatus, Status

__all__ = ["Cluster", "ClusterError", "ComponentStatus", "Status", "open_cluster"]
