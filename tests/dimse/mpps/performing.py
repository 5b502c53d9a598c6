"""A modality that performs steps, by pynetdicom, and a receiver that steps are passed on to."""

import queue
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from tests.dimse.committing import keep_socket, listening
from tests.dimse.dimse_peers import EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, a_uid

MPPS = "1.2.840.10008.3.1.2.3.3"
MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"


def a_step(*, study: str = "1.2.3.1", step: str = "S1", accession: str = "A1", **changed: Any) -> Dataset:
    """The attributes of an N-CREATE; keyword arguments replace them, `None` leaves one out."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study
    scheduled.ReferencedStudySequence = []
    scheduled.AccessionNumber = accession
    scheduled.RequestedProcedureID = "R1"
    scheduled.RequestedProcedureDescription = ""
    scheduled.ScheduledProcedureStepID = step
    scheduled.ScheduledProcedureStepDescription = ""
    scheduled.ScheduledProtocolCodeSequence = []
    values: dict[str, Any] = {
        "ScheduledStepAttributesSequence": [scheduled],
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "",
        "PatientSex": "",
        "ReferencedPatientSequence": [],
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1",
        "PerformedStationName": "ROOM1",
        "PerformedLocation": "",
        "PerformedProcedureStepStartDate": "20240115",
        "PerformedProcedureStepStartTime": "101500",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepDescription": "",
        "PerformedProcedureTypeDescription": "",
        "ProcedureCodeSequence": [],
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "Modality": "CT",
        "StudyID": "",
        "PerformedProtocolCodeSequence": [],
        "PerformedSeriesSequence": [],
        **changed,
    }
    return of(**values)


def a_series(images: int = 1) -> Dataset:
    """An item of the Performed Series Sequence."""
    series = Dataset()
    series.PerformingPhysicianName = ""
    series.OperatorsName = ""
    series.ProtocolName = "Thorax"
    series.SeriesInstanceUID = a_uid()
    series.SeriesDescription = ""
    series.RetrieveAETitle = ""
    series.ReferencedImageSequence = []
    for _ in range(images):
        image = Dataset()
        image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        image.ReferencedSOPInstanceUID = a_uid()
        series.ReferencedImageSequence.append(image)
    return series


def an_end(status: str = "COMPLETED", **changed: Any) -> Dataset:
    """The attributes of the N-SET that ends a step."""
    values: dict[str, Any] = {
        "PerformedProcedureStepStatus": status,
        "PerformedProcedureStepEndDate": "20240115",
        "PerformedProcedureStepEndTime": "102000",
        "PerformedSeriesSequence": [a_series()],
        **changed,
    }
    return of(**values)


def of(**values: Any) -> Dataset:
    """A data set of these values, by keyword; those that are `None` are left out."""
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


class Modality:
    """A pynetdicom SCU on one association."""

    def __init__(self, port: int, *, title: str = "CT1", syntax: str = EXPLICIT_LE) -> None:
        entity = AE(ae_title=title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE_S
        entity.add_requested_context(MPPS, [syntax])
        entity.add_requested_context(MPPS_RETRIEVE, [syntax])
        self.commands: list[Dataset] = []
        self.association = entity.associate(
            "127.0.0.1",
            port,
            ae_title="ISTHMUS",
            evt_handlers=[(evt.EVT_DIMSE_RECV, self._received)],
        )
        assert self.association.is_established
        self._sockets: list[socket.socket] = []
        keep_socket(self.association, self._sockets)

    def create(self, step: Dataset, instance: str | None) -> Dataset:
        """The response to an N-CREATE."""
        response, self.attributes = self.association.send_n_create(step, MPPS, instance)
        return response

    def set(self, change: Dataset, instance: str) -> Dataset:
        """The response to an N-SET."""
        response, self.attributes = self.association.send_n_set(change, MPPS, instance)
        return response

    def get(self, instance: str, tags: Sequence[Any] = ()) -> tuple[Dataset, Dataset | None]:
        """The response to an N-GET, and the attributes that came with it."""
        return self.association.send_n_get(list(tags), MPPS_RETRIEVE, instance)

    @property
    def command(self) -> Dataset:
        """The command set of the last response."""
        return self.commands[-1]

    def _received(self, event: evt.Event) -> None:
        self.commands.append(event.message.command_set)

    def release(self) -> None:
        self.association.release()
        self.association.join(PATIENCE_S)
        for each in self._sockets:
            each.close()


@dataclass
class Receiver:
    """What a RIS has got, and what it answers."""

    answers: list[int] = field(default_factory=list)
    came: "queue.Queue[tuple[str, str, Dataset]]" = field(default_factory=queue.Queue)

    def created(self, event: evt.Event) -> tuple[int, Dataset | None]:
        return self._noted("create", _instance(event, "AffectedSOPInstanceUID"), event.attribute_list)

    def set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        return self._noted("set", _instance(event, "RequestedSOPInstanceUID"), event.modification_list)

    def next(self) -> tuple[str, str, Dataset]:
        return self.came.get(timeout=PATIENCE_S)

    def _noted(self, operation: str, instance: str, attributes: Dataset) -> tuple[int, Dataset | None]:
        status = self.answers.pop(0) if self.answers else 0
        attributes.decode()
        self.came.put((operation, instance, attributes))
        return status, Dataset() if status == 0 else None


def _instance(event: evt.Event, keyword: str) -> str:
    return str(getattr(event.request, keyword))


@contextmanager
def receiving(receiver: Receiver, *, port: int = 0) -> Iterator[int]:
    """A pynetdicom SCP of MPPS; its port."""
    entity = AE(ae_title="RIS")
    entity.add_supported_context(MPPS, [IMPLICIT_LE, EXPLICIT_LE])
    handlers = [(evt.EVT_N_CREATE, receiver.created), (evt.EVT_N_SET, receiver.set)]
    with listening(entity, handlers, port=port) as listens:
        yield listens
