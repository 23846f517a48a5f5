"""What a scrape of the operator says."""

from slipway.metrics import REGISTRY


def figure(name: str, **labels: str) -> float | None:
    """The value of one time series; None where there is none."""
    return REGISTRY.get_sample_value(name, labels)


class Growth:
    """How much counters have grown since: they are the process', and other tests count too."""

    def __init__(self, name: str, **labels: str) -> None:
        self._series = name, labels
        self._before = figure(name, **labels) or 0.0

    def __call__(self) -> float:
        name, labels = self._series
        return (figure(name, **labels) or 0.0) - self._before
