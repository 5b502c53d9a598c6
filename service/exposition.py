"""Numbers in the text format of Prometheus (version 0.0.4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

type Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family; `suffix` is what its name has more than the family's."""

    value: float
    labels: Labels = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one name: `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    explained: str
    samples: Sequence[Sample]


def exposed(families: Iterable[Family]) -> bytes:
    """The families as text; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {family.explained}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += (
            f"{family.name}{one.suffix}{_labelled(one.labels)} {_number(one.value)}" for one in family.samples
        )
    return ("\n".join(lines) + "\n").encode()


def histogram(labels: Labels, bounds: Sequence[float], counts: Sequence[float], total: float) -> list[Sample]:
    """The samples of one histogram: `counts` has a number for each of `bounds`, and one for what is above.

    `total` is the sum of what was observed.
    """
    samples: list[Sample] = []
    seen = 0.0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        seen += count
        samples.append(Sample(seen, {**labels, "le": bound}, "_bucket"))
    return [*samples, Sample(total, labels, "_sum"), Sample(seen, labels, "_count")]


def _labelled(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
