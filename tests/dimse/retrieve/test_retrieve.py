"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): what is sent, what is said of it."""

import secrets
import time

import pytest
from pynetdicom import _config

from bridge.hosts import look_up
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, a_uid
from tests.dimse.retrieve.retrieving import an_object, asked, fetched, moved

LOOPBACK = look_up(["127.0.0.1"], timeout_s=5.0)["127.0.0.1"]
CT = [(CT_IMAGE, [EXPLICIT_LE])]


def a_series(count: int, study: str | None = None, **given):
    study, series = study or a_uid(), a_uid()
    return [an_object(study=study, series=series, **given) for _ in range(count)]


def test_a_study_goes_to_its_destination_byte_for_byte(start, served, destination):
    objects = a_series(5)
    served.keep(one.part10 for one in objects)
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked(StudyInstanceUID=objects[0].study))

    assert answer.status == 0x0000
    assert answer.counts == (5, 0, 0)
    assert {(one.instance, one.data, one.syntax) for one in dest.got} == {
        (one.instance, one.data, EXPLICIT_LE) for one in objects
    }
    assert {one.originator for one in dest.got} == {("ASKER", 77)}
    assert len(served.gets(of="")) == 1


def test_a_study_comes_back_on_the_same_association(start, served):
    objects = a_series(5)
    served.keep(one.part10 for one in objects)
    bridge = start()

    answer = fetched(bridge.port, asked(StudyInstanceUID=objects[0].study), CT)

    assert answer.status == 0x0000
    assert answer.counts == (5, 0, 0)
    assert {one.data for one in answer.got} == {one.data for one in objects}
    assert bridge.report().objects == 5


@pytest.fixture
def patient(served):
    """A patient with two studies, of which the first has two series of two."""
    study, patient, accession = a_uid(), f"P{a_uid()}", secrets.token_hex(5)
    objects = [
        *a_series(2, study, patient=patient, accession=accession),
        *a_series(2, study, patient=patient, accession=accession),
        *a_series(1, patient=patient, accession=accession + "2"),
    ]
    served.keep(one.part10 for one in objects)
    served.keep([an_object(patient="P8").part10])
    return objects


PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"


@pytest.mark.parametrize(
    ("model", "level", "keys", "expected"),
    [
        (PATIENT_MOVE, "PATIENT", lambda p: {"PatientID": p[0].patient}, [0, 1, 2, 3, 4]),
        (ONLY_MOVE, "PATIENT", lambda p: {"PatientID": p[0].patient}, [0, 1, 2, 3, 4]),
        (STUDY_MOVE, "STUDY", lambda p: {"StudyInstanceUID": p[0].study}, [0, 1, 2, 3]),
        (PATIENT_MOVE, "STUDY", lambda p: {"StudyInstanceUID": p[0].study}, [0, 1, 2, 3]),
        (STUDY_MOVE, "STUDY", lambda p: {"StudyInstanceUID": [p[0].study, p[4].study]}, [0, 1, 2, 3, 4]),
        (STUDY_MOVE, "STUDY", lambda p: {"AccessionNumber": p[4].accession}, [4]),
        (STUDY_MOVE, "study", lambda p: {"StudyInstanceUID": p[4].study, "PatientID": p[0].patient}, [4]),
        (
            STUDY_MOVE,
            "SERIES",
            lambda p: {"StudyInstanceUID": p[0].study, "SeriesInstanceUID": p[2].series},
            [2, 3],
        ),
        (STUDY_MOVE, "SERIES", lambda p: {"SeriesInstanceUID": [p[0].series, p[2].series]}, [0, 1, 2, 3]),
        (
            STUDY_MOVE,
            "IMAGE",
            lambda p: {
                "StudyInstanceUID": p[0].study,
                "SeriesInstanceUID": p[0].series,
                "SOPInstanceUID": [p[0].instance, p[1].instance],
            },
            [0, 1],
        ),
        (STUDY_MOVE, "IMAGE", lambda p: {"SOPInstanceUID": [p[n].instance for n in (1, 3)]}, [1, 3]),
        (STUDY_MOVE, "INSTANCE", lambda p: {"SOPInstanceUID": p[4].instance}, [4]),
        (
            STUDY_MOVE,
            "",
            lambda p: {"StudyInstanceUID": p[0].study, "SeriesInstanceUID": p[2].series},
            [2, 3],
        ),
        (STUDY_MOVE, "STUDY", lambda p: {"StudyInstanceUID": "1.2.3"}, []),
        (STUDY_MOVE, "SERIES", lambda p: {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2"}, []),
        (PATIENT_MOVE, "PATIENT", lambda p: {"PatientID": p[0].patient.lower()}, []),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # pydicom's, about the lower case
def test_keys_name_what_is_sent(start, served, destination, patient, model, level, keys, expected):
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked(level, **keys(patient)), model=model)

    assert answer.status == 0x0000
    assert answer.counts == (len(expected), 0, 0)
    assert sorted(one.instance for one in dest.got) == sorted(patient[n].instance for n in expected)
    assert "NumberOfRemainingSuboperations" not in answer.final


@pytest.mark.parametrize(
    ("model", "level", "keys", "offending"),
    [
        (STUDY_MOVE, "PATIENT", {"PatientID": "P7"}, 0x00080052),
        (ONLY_MOVE, "SERIES", {"SeriesInstanceUID": "1.2"}, 0x00080052),
        (STUDY_MOVE, "FRAME", {"SOPInstanceUID": "1.2"}, 0x00080052),
        (STUDY_MOVE, "", {"Modality": "CT"}, 0x00080052),
        (STUDY_MOVE, "STUDY", {}, 0x0020000D),
        (STUDY_MOVE, "STUDY", {"PatientID": "P7"}, 0x0020000D),
        (STUDY_MOVE, "STUDY", {"StudyInstanceUID": "1.2.*"}, 0x0020000D),
        (STUDY_MOVE, "STUDY", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2"}, 0x0020000E),
        (STUDY_MOVE, "SERIES", {"StudyInstanceUID": ["1.2", "1.3"], "SeriesInstanceUID": "1.2"}, 0x0020000D),
        (PATIENT_MOVE, "PATIENT", {"PatientID": "P*"}, 0x00100020),
        (PATIENT_MOVE, "PATIENT", {"PatientID": ""}, 0x00100020),
        (STUDY_MOVE, "STUDY", {"AccessionNumber": "A?"}, 0x00080050),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's, about these values
def test_keys_that_name_nothing_are_a900(start, served, destination, model, level, keys, offending):
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked(level, **keys), model=model)

    assert answer.status == 0xA900
    assert answer.final.OffendingElement == offending
    assert 0 < len(answer.final.ErrorComment) <= 64
    assert dest.associations == 0


def test_a_strict_peer_has_to_name_all_levels_and_nothing_else(start, served, destination):
    dest = destination(CT)
    strict = dest.peer(strict=True, name="asker", ae_title="ASKER", callers=LOOPBACK)
    bridge = start(dest.peer(), strict)

    for keys in (
        {"level": "SERIES", "SeriesInstanceUID": "1.2"},
        {"level": "STUDY", "StudyInstanceUID": "1.2", "Modality": "CT"},
        {"level": "INSTANCE", "SOPInstanceUID": "1.2"},
        {"level": "", "StudyInstanceUID": "1.2"},
    ):
        assert moved(bridge.port, asked(**keys)).status == 0xA900, keys
    assert moved(bridge.port, asked(StudyInstanceUID="1.2")).status == 0x0000


def test_an_unknown_destination_is_a801(start, served, destination):
    bridge = start(destination(CT).peer())

    answer = moved(bridge.port, asked(StudyInstanceUID="1.2"), to="NOBODY")

    assert answer.status == 0xA801


def test_a_destination_is_found_whatever_the_case_of_its_title(start, served, destination):
    one = an_object()
    served.keep([one.part10])
    dest = destination(CT)
    bridge = start(dest.peer())

    assert moved(bridge.port, asked(StudyInstanceUID=one.study), to="dest ").status == 0x0000


def test_who_may_not_retrieve_is_told_so(start, served, destination):
    dest = destination(CT)
    asker = dest.peer(name="asker", ae_title="ASKER", callers=LOOPBACK, services=frozenset({"echo"}))
    bridge = start(dest.peer(), asker)

    assert moved(bridge.port, asked(StudyInstanceUID="1.2")).status == 0x0124


@pytest.mark.parametrize(
    ("statuses", "final", "counts"),
    [
        ([0, 0, 0], 0x0000, (3, 0, 0)),
        ([0, 0xB000, 0], 0xB000, (2, 0, 1)),
        ([0xB000, 0xB006, 0xB007], 0xB000, (0, 0, 3)),
        ([0, 0xA700, 0], 0xB000, (2, 1, 0)),
        ([0xB000, 0xC000, 0x0122], 0xB000, (0, 2, 1)),
        ([0xA700, 0xA900, 0xC123], 0xA702, (0, 3, 0)),
    ],
)
@pytest.mark.parametrize("way", ["move", "get"])
def test_the_final_status_follows_from_the_outcomes(start, served, destination, way, statuses, final, counts):
    objects = a_series(3)
    served.keep(one.part10 for one in objects)
    answers = dict(zip((one.instance for one in objects), statuses, strict=True))
    dest = destination(CT, status=lambda self, instance: answers[instance])
    bridge = start(dest.peer())
    identifier = asked(StudyInstanceUID=objects[0].study)

    if way == "move":
        answer = moved(bridge.port, identifier)
    else:
        answer = fetched(bridge.port, identifier, CT, status=answers.__getitem__)

    assert (answer.status, answer.counts) == (final, counts)
    assert sorted(answer.failures) == sorted(
        uid for uid, status in answers.items() if status and status >> 12 != 0xB
    )
    assert "NumberOfRemainingSuboperations" not in answer.final


def test_pending_responses_count_what_remains_and_are_few(start, served, destination):
    objects = a_series(40)
    served.keep(one.part10 for one in objects)
    dest = destination(CT)
    bridge = start(dest.peer(), pending_s=0.02)
    begun = time.monotonic()

    answer = moved(bridge.port, asked(StudyInstanceUID=objects[0].study))

    took_s = time.monotonic() - begun
    pending = answer.statuses[:-1]
    assert {int(one.Status) for one in pending} == {0xFF00}
    remaining = [one.NumberOfRemainingSuboperations for one in pending]
    assert remaining[0] == 40 and remaining == sorted(remaining, reverse=True)
    for one in pending:
        done = one.NumberOfCompletedSuboperations
        assert one.NumberOfRemainingSuboperations + done == 40
    assert len(pending) <= 1 + took_s / 0.02


def test_a_destination_that_cannot_be_reached_fails_them_all(start, served, destination):
    objects = a_series(3)
    served.keep(one.part10 for one in objects)
    dest = destination(CT)
    bridge = start(dest.peer())
    dest.close()

    answer = moved(bridge.port, asked(StudyInstanceUID=objects[0].study))

    assert (answer.status, answer.counts) == (0xA702, (0, 3, 0))
    assert len(answer.failures) == 3
    assert "reached" in answer.final.ErrorComment


def test_a_destination_that_rejects_the_association_fails_them_all(start, served, destination):
    objects = a_series(3)
    served.keep(one.part10 for one in objects)
    dest = destination(CT, require_called_aet=True)
    bridge = start(dest.peer(ae_title="OTHER"))

    answer = moved(bridge.port, asked(StudyInstanceUID=objects[0].study), to="OTHER")

    assert (answer.status, answer.counts) == (0xA702, (0, 3, 0))
    assert "called AE title" in answer.final.ErrorComment


def test_a_class_that_is_not_taken_fails_alone(start, served, destination):
    objects = a_series(2)
    other = an_object(study=objects[0].study, sop_class="1.2.840.10008.5.1.4.1.1.4")
    served.keep(one.part10 for one in (*objects, other))
    dest = destination(CT)
    bridge = start(dest.peer())
    identifier = asked(StudyInstanceUID=objects[0].study)

    by_move = moved(bridge.port, identifier)
    by_get = fetched(bridge.port, identifier, CT)

    for answer in (by_move, by_get):
        assert (answer.status, answer.counts) == (0xB000, (2, 1, 0))
        assert answer.failures == [other.instance]
    assert not served.gets(of=other.instance)


@pytest.mark.parametrize("sop_class", ["1.3.46.670589.11.0.0.12.2", "1.2.840.10008.5.1.4.1.1.999.1"])
def test_private_and_unknown_classes_are_sent(start, served, destination, sop_class, monkeypatch):
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    one = an_object(sop_class=sop_class)
    served.keep([one.part10])
    dest = destination([(sop_class, [EXPLICIT_LE])])
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked(StudyInstanceUID=one.study))

    assert answer.status == 0x0000
    assert [got.data for got in dest.got] == [one.data]


def test_explicit_vr_is_preferred_and_implicit_made_where_nothing_else_is_taken(start, served, destination):
    one = an_object()
    served.keep([one.part10])
    both = destination([(CT_IMAGE, [IMPLICIT_LE, EXPLICIT_LE])])
    old = destination([(CT_IMAGE, [IMPLICIT_LE])], title="OLD")
    bridge = start(both.peer(), old.peer())

    for title in ("DEST", "OLD"):
        assert moved(bridge.port, asked(StudyInstanceUID=one.study), to=title).status == 0x0000

    assert [(got.syntax, got.data) for got in both.got] == [(EXPLICIT_LE, one.data)]
    implicit = an_object(study=one.study, series=one.series, instance=one.instance, syntax=IMPLICIT_LE)
    assert [(got.syntax, got.data) for got in old.got] == [(IMPLICIT_LE, implicit.data)]


def test_what_was_stored_in_implicit_vr_goes_out_so_too(start, served, destination):
    one = an_object(syntax=IMPLICIT_LE)
    served.keep([one.part10])
    dest = destination([(CT_IMAGE, [IMPLICIT_LE])])
    bridge = start(dest.peer(transcode=False))

    answer = moved(bridge.port, asked(StudyInstanceUID=one.study))

    assert answer.status == 0x0000
    assert dest.got[0].data == one.data
