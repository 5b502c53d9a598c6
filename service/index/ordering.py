"""The order of matches in SQL and in memory, and the place of one match in it.

A `Place` holds a match's value of each term of the order. A page that continues behind a place reads what
follows it and nothing before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.dicom.sorting import Sorting
from service.index.clauses import ALIAS, Bound, Clause, joined

type Place = tuple[Bound | None, ...]


def expressions(order: Sequence[Sorting], counts: Mapping[str, str]) -> list[str]:
    """The columns of the order's terms; `counts` says how those that count are worked out."""
    names = (f"{ALIAS[sorting.attribute.level]}.{sorting.column}" for sorting in order)
    return [counts.get(name, name) for name in names]


def order_by(order: Sequence[Sorting], counts: Mapping[str, str]) -> str:
    """The terms of an ORDER BY."""
    return ", ".join(
        f"{expression} {'DESC' if sorting.descending else 'ASC'}{' NULLS LAST' if sorting.nullable else ''}"
        for sorting, expression in zip(order, expressions(order, counts), strict=True)
    )


def behind(order: Sequence[Sorting], place: Place, counts: Mapping[str, str]) -> list[Clause]:
    """Conditions for what comes behind `place`, in the order in which the matches of each follow.

    Each pins the first terms to the place's values and lets the next one go on from its value, which an
    index can answer; a single condition of all of them it could not.
    """
    names = expressions(order, counts)
    clauses: list[Clause] = []
    for depth in reversed(range(len(order))):
        value = place[depth]
        if value is None:  # values that are missing come last
            continue
        pinned = [_equal(name, held) for name, held in zip(names[:depth], place[:depth], strict=True)]
        sign = "<" if order[depth].descending else ">"
        clauses.append(joined([*pinned, Clause(f"{names[depth]} {sign} ?", (value,))], " AND "))
        if order[depth].nullable:
            clauses.append(joined([*pinned, Clause(f"{names[depth]} IS NULL")], " AND "))
    return clauses


def _equal(name: str, value: Bound | None) -> Clause:
    return Clause(f"{name} IS NULL") if value is None else Clause(f"{name} = ?", (value,))


def sort_key(order: Sequence[Sorting], place: Place) -> tuple[tuple[bool, Any], ...]:
    """What sorts in Python as `order_by` does in SQL."""
    return tuple(
        (value is None, _Descending(value) if sorting.descending else value)
        for sorting, value in zip(order, place, strict=True)
    )


class _Descending:
    """A value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: "_Descending") -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(other.value == self.value)

    __hash__ = None  # type: ignore[assignment]
