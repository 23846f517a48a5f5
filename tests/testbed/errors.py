"""The one error this package raises for what a person can understand and act on."""


class ClusterError(Exception):
    """A cluster cannot be made, reached or removed; the text says what to do."""
