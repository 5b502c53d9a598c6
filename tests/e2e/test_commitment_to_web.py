"""Storage commitment against the whole product: what was stored by C-STORE is committed."""

import queue
from collections.abc import Callable

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt

from tests.e2e.conftest import PATIENCE_S, Program

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
PUSH, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


def a_slice() -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = UID(CT_IMAGE), generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientID, data.Modality = "P", "CT"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


def test_what_was_stored_is_committed(start: Callable[..., Program]):
    program = start().wait_ready()
    reports: queue.Queue[tuple[int | None, Dataset]] = queue.Queue()

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return 0, None

    entity = AE(ae_title="MODALITY")
    entity.add_requested_context(CT_IMAGE, ExplicitVRLittleEndian)
    entity.add_requested_context(PUSH)
    association = entity.associate(
        "127.0.0.1", program.dimse_port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    stored = [a_slice() for _ in range(120)]
    assert {association.send_c_store(each).Status for each in stored} == {0}
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = [reference(each.SOPInstanceUID) for each in stored]
    missing = reference(generate_uid())
    asked.ReferencedSOPSequence.append(missing)

    status, _ = association.send_n_action(asked, 1, PUSH, PUSH_INSTANCE)
    event_type, report = reports.get(timeout=PATIENCE_S)
    program.wait_for("reported='same association'")
    association.release()
    association.join(PATIENCE_S)

    assert (status.Status, event_type) == (0, 2)
    assert [each.ReferencedSOPInstanceUID for each in report.ReferencedSOPSequence] == [
        each.SOPInstanceUID for each in stored
    ]
    (failed,) = report.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (
        missing.ReferencedSOPInstanceUID,
        0x0112,
    )
    assert report.RetrieveAETitle == "ISTHMUS"
    assert (program.folder / "data" / "bridge" / "lock").exists()


def reference(instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE, instance
    return item
