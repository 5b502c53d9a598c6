"""An archive as it is to somebody who may not know of everything: the rest is not there."""

from collections.abc import Buffer, Sequence
from dataclasses import replace
from functools import partial

from service.archive.port import (
    Answer,
    Documents,
    FileRun,
    Forgets,
    Held,
    Identifies,
    Intake,
    Lacks,
    Lands,
    Recalls,
    WholeArchive,
)
from service.dicom.confinement import Confinement
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.resource import Resource


class Confined:
    """`archive` to who is confined to `confinement`: a `ServedArchive` that can what `archive` can.

    Whatever is looked up is looked up within the confinement. What is done with what was found needs no
    second look, since an instance is handed over by the row that it was found in.
    """

    def __init__(self, archive: WholeArchive, confinement: Confinement) -> None:
        self._archive = archive
        self._within = confinement
        # Protocols are looked for on the object: it has those of the archive, and no others.
        if isinstance(archive, Forgets):
            self.forget = partial(archive.forget, within=confinement)
        if isinstance(archive, Recalls):
            self.findings = archive.findings
        if isinstance(archive, Identifies):  # for the audit trail, which knows of everything
            self.patient_of = archive.patient_of
        if isinstance(archive, Lacks):
            self.lacking = archive.lacking
        if isinstance(archive, Lands):
            self.landed = partial(archive.landed, within=confinement)

    @property
    def nearby(self) -> bool:
        return self._archive.nearby

    def ready(self) -> None:
        """As the archive says of itself."""
        self._archive.ready()

    def find(self, query: Query) -> Answer:
        return self._archive.find(replace(query, confinement=self._within))

    def instances(self, resource: Resource) -> Sequence[Held]:
        return self._archive.instances(resource, within=self._within)

    def documents(self, resource: Resource, *, unless: str | None = None) -> Documents | None:
        return self._archive.documents(resource, unless=unless, within=self._within)

    def intake(self, study: str | None = None) -> Intake:
        return self._archive.intake(study, within=self._within)

    def read(self, held: Held, extent: Extent) -> Buffer:
        return self._archive.read(held, extent)

    def lend(self, held: Held, extent: Extent) -> FileRun | None:
        """A run of an instance's object as one of a file; `None` says to `read` it."""
        return self._archive.lend(held, extent)

    def frames(self, held: Held, numbers: Sequence[int]) -> Sequence[Extent] | None:
        return self._archive.frames(held, numbers)
