"""What a benchmark says: figures beside their targets, for people and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

HEADINGS = ("", "measured", "target", "ratio", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. target: what it is held to, from below (`>=`) or above (`<=`); None: told for its own sake."""

    name: str
    value: float
    unit: str = ""
    sense: Literal[">=", "<="] = ">="
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured over target."""
        return self.value / self.target if self.target else None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.sense == ">=" else self.value <= self.target

    def to_object(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "sense": self.sense if self.target is not None else None,
            "target": self.target,
            "ratio": self.ratio,
            "met": self.met,
        }


def table(title: str, figures: Sequence[Figure]) -> str:
    """One benchmark's figures in aligned columns."""
    rows = [(title, *HEADINGS[1:]), *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *right)).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[ceil(share * len(ordered)) - 1] if ordered else 0.0


def _row(figure: Figure) -> tuple[str, ...]:
    target = "" if figure.target is None else f"{figure.sense} {_number(figure.target)}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = "" if figure.met is None else ("yes" if figure.met else "NO")
    return figure.name, f"{_number(figure.value)} {figure.unit}".rstrip(), target, ratio, met


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
