"""What somebody is confined to, as conditions on the row of a study, `s`.

Lists are bound as one parameter each, however long they are, so that a statement is the same for everybody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from service.dicom.confinement import Confinement
from service.dicom.resource import Resource
from service.index.clauses import Clause, joined, together
from service.index.rows import scope


@dataclass(frozen=True, slots=True)
class Listing:
    """How a database is told many values at once.

    `among` follows a column to ask whether its value is one of them, `listed` makes the parameter.
    """

    among: str
    listed: Callable[[Iterable[Any]], Any]

    def one_of(self, column: str, values: Iterable[Any]) -> Clause:
        """The condition that the value of `column` is among `values`."""
        return Clause(f"{column} {self.among}", (self.listed(values),))


def permitted(within: Confinement | None, study: str, listing: Listing) -> Clause:
    """What must hold of the row of `study`; empty where it is permitted whatever it says."""
    patients = None if within is None else within.patients_for(study)
    return Clause("") if patients is None else listing.one_of("s.patient_id", patients)


def all_permitted(within: Confinement, listing: Listing) -> Clause:
    """What holds of the rows of the permitted studies, in terms of the indexes on their UIDs and patients."""
    clauses = []
    if within.studies is not None:
        clauses.append(listing.one_of("s.study_uid", within.studies))
    if within.patients is not None:
        clauses.append(listing.one_of("s.patient_id", within.patients))
    return joined(clauses, " OR ")


def scope_within(
    resource: Resource, within: Confinement | None, listing: Listing
) -> tuple[str, tuple[Any, ...]]:
    """As `rows.scope`, of what there is of `resource` for who is confined to `within`."""
    where, bound = scope(resource)
    if within is None:
        return where, bound
    clause = permitted(within, resource.study, listing)
    return together(where, clause), (*bound, *clause.bound)
