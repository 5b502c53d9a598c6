"""Conditions of SQL statements with their bound parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.resource import Level

type Bound = str | int | float

# What the tables of the levels are called in statements.
ALIAS = {Level.STUDY: "s", Level.SERIES: "e", Level.INSTANCE: "i"}


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition and the parameters of its question marks, in order."""

    sql: str
    bound: tuple[Bound, ...] = ()


def together(statement: str, more: Clause) -> str:
    """A statement that ends with its conditions, and `more` among them unless it is empty."""
    return f"{statement} AND {more.sql}" if more.sql else statement


def joined(clauses: Sequence[Clause], by: str) -> Clause:
    """The clauses as one, with ` AND ` or ` OR ` between them."""
    if len(clauses) == 1:
        return clauses[0]
    bound = tuple(value for clause in clauses for value in clause.bound)
    return Clause("(" + by.join(clause.sql for clause in clauses) + ")", bound)
