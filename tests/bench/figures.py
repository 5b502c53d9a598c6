"""What is printed: one line a figure, ours beside a named baseline of the same run."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PER_SECOND = "/s"
MILLISECONDS = "ms"
_LINE = "{:<9} {:<44} {:>9} {:<3} {:<33} {:>9} {:<3} {:>6} {}"


@dataclass(frozen=True, slots=True)
class Figure:
    """Ours and the baseline, one value a round: durations in ms or rates per second."""

    scenario: str
    what: str
    unit: str
    ours: Sequence[float]
    baseline_name: str
    baseline: Sequence[float]

    @property
    def ratio(self) -> float:
        """Median of ours over median of the baseline."""
        return statistics.median(self.ours) / statistics.median(self.baseline)

    def line(self) -> str:
        """The figure as one line: both medians, their ratio, and the ratios of single rounds."""
        ratios = [one / other for one, other in zip(self.ours, self.baseline, strict=True)]
        return _LINE.format(
            self.scenario,
            self.what,
            f"{statistics.median(self.ours):.4g}",
            self.unit,
            self.baseline_name,
            f"{statistics.median(self.baseline):.4g}",
            self.unit,
            f"{self.ratio:.2f}",
            f"({min(ratios):.2f} to {max(ratios):.2f})",
        ).rstrip()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A baseline that could not be measured, and why."""

    scenario: str
    baseline_name: str
    why: str

    def line(self) -> str:
        """The omission as one line."""
        return f"{self.scenario:<9} skipped: {self.baseline_name}: {self.why}"


def heading() -> str:
    """The names of the columns."""
    return _LINE.format(
        "scenario", "what", "ours", "", "baseline", "", "", "ratio", "(of single rounds)"
    ).rstrip()


def in_turn(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """The values of each side: all are measured in each round, every other round in reverse order."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            values[name].append(sides[name]())
    return values
