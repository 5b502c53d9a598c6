"""C-FIND over the bridge into a real service: answers, statuses, negotiation, character sets, bad peers."""

import os
import re
import shutil
import subprocess

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from bridge.upper.command import Operation
from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.conformance.searching import GUSEVA, MUELLER, NOBODY, YAMADA
from tests.dimse.dimse_peers import RawPeer, a_command, a_context, an_echo, p_data
from tests.dimse.finding import PATIENT_ROOT, PATIENT_STUDY_ONLY, PENDING, STUDY_ROOT, Asker, found
from tests.identifiers import a_query, encoded

UNSUPPORTED, SUCCESS, MISMATCH = 0xFF01, 0x0000, 0xA900
PT_SERIES = "1.4.2"


# What an answer holds


def test_an_answer_has_what_goes_without_saying(ask):
    (match,) = ask.find(a_query("SERIES", Modality="PT")).matches

    assert match.QueryRetrieveLevel == "SERIES"
    assert match.RetrieveAETitle == "ISTHMUS"
    assert match.InstanceAvailability == "ONLINE"
    assert (match.StudyInstanceUID, match.SeriesInstanceUID) == (GUSEVA, PT_SERIES)
    assert "PatientID" not in match


def test_the_patient_root_tells_the_patient_id(ask):
    (match,) = ask.find(a_query("SERIES", Modality="PT"), PATIENT_ROOT).matches

    assert match.PatientID == "p1"


def test_counts_of_patients_are_of_all_their_studies(ask):
    query = a_query(
        "PATIENT", PatientID="P1", NumberOfPatientRelatedStudies=None, NumberOfPatientRelatedSeries=None,
        NumberOfPatientRelatedInstances=None,
    )  # fmt: skip
    (match,) = ask.find(query, PATIENT_ROOT).matches

    assert match.NumberOfPatientRelatedStudies == 1
    assert match.NumberOfPatientRelatedSeries == 2
    assert match.NumberOfPatientRelatedInstances == 3


def test_transfer_syntaxes_that_are_to_be_had_are_told_of_images(ask):
    query = a_query("IMAGE", StudyInstanceUID=YAMADA, AvailableTransferSyntaxUID="")
    (match,) = ask.find(query).matches

    assert EXPLICIT_LE in match.AvailableTransferSyntaxUID


def test_keys_that_nobody_holds_come_back_empty(ask):
    answers = ask.find(a_query("STUDY", StudyInstanceUID=YAMADA, StudyComments=None, Modality=None))

    (match,) = answers.matches
    assert match["StudyComments"].is_empty and match["Modality"].is_empty
    assert answers.pending == [PENDING]


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_queries_are_answered_in_the_syntax_of_their_context(ground, port, syntax):
    answers = Asker(ground, port, syntax=syntax).find(a_query(PatientName="Yama*", StudyDate=""))

    assert found(answers, "StudyDate") == ["20240301"]


# Statuses


def test_nothing_found_is_success(ask):
    assert ask.find(a_query(PatientID="nobody")).final.status == SUCCESS


@pytest.mark.parametrize(
    ("level", "keyword", "value"),
    [("STUDY", "StudyDate", "2024*"), ("STUDY", "Modality", "CT"), ("PATIENT", "StudyDate", "20240101")],
)
def test_keys_that_are_not_matched_are_said_by_the_status(ask, level, keyword, value):
    answers = ask.find(a_query(level, **{keyword: value}), PATIENT_ROOT)

    assert len(answers.matches) == 4
    assert set(answers.pending) == {UNSUPPORTED}
    assert answers.final.status == SUCCESS


@pytest.mark.parametrize(
    ("root", "query"),
    [
        (STUDY_ROOT, a_query("PATIENT", PatientID="")),
        (PATIENT_STUDY_ONLY, a_query("SERIES")),
        (STUDY_ROOT, a_query("NONSENSE")),
        (STUDY_ROOT, a_query("", PatientName="*")),
        (STUDY_ROOT, a_query(StudyDate="yesterday")),
        (STUDY_ROOT, Dataset()),
    ],
)
def test_queries_that_do_not_fit_the_model_are_refused(ask, root, query):
    answers = ask.find(query, root)

    assert answers.final.status == MISMATCH
    assert answers.matches == []
    assert answers.final.identifier == b""
    assert 0 < len(answers.final.comment) <= 64


def test_a_refusal_names_the_element_at_fault(port):
    with RawPeer(("127.0.0.1", port)) as peer:
        peer.associate(a_context(1, STUDY_ROOT, IMPLICIT_LE))
        send_find(peer, encoded(a_query(StudyDate="yesterday")))
        _, body = peer.next_pdu()

    assert body[6:].find(b"\0\0\x01\x09\x04\0\0\0\x08\0\x20\0") >= 0  # (0000,0901), AT, (0008,0020)


# Relational and strict


def test_a_level_that_is_not_told_is_found_out(ask):
    answers = ask.find(a_query("", StudyInstanceUID="", PatientID="P2"))

    assert found(answers, "StudyInstanceUID") == [YAMADA]
    assert answers.matches[0].QueryRetrieveLevel == "STUDY"


def test_strict_peers_ask_as_the_standard_wants_it(ground, port):
    ask = Asker(ground, port, calling="STRICT")
    series = a_query("SERIES", Modality="PT")

    assert ask.find(series).final.status == MISMATCH
    assert found(ask.find(series, extended=b"\1"), "SeriesInstanceUID") == [PT_SERIES]
    within = a_query("SERIES", StudyInstanceUID=GUSEVA, Modality="PT")
    assert found(ask.find(within), "SeriesInstanceUID") == [PT_SERIES]
    assert ask.find(a_query(StudyDate="2024*")).final.status == MISMATCH


# Extended negotiation


def test_times_and_dates_match_independently_unless_it_was_negotiated(ask):
    query = a_query(StudyDate="20240114-20240302", StudyTime="11-09")
    wide = a_query(StudyDate="20240114-20240302", StudyTime="09-11")

    assert found(ask.find(wide), "StudyInstanceUID") == [MUELLER]
    assert set(found(ask.find(wide, extended=b"\0\1"), "StudyInstanceUID")) == {MUELLER, YAMADA}
    assert found(ask.find(query), "StudyInstanceUID") == []


def test_names_are_matched_by_words_where_it_was_negotiated(ask):
    query = a_query(PatientName="tar yam")

    assert found(ask.find(query), "StudyInstanceUID") == []
    assert found(ask.find(query, extended=b"\1\0\1"), "StudyInstanceUID") == [YAMADA]


def test_times_are_meant_in_a_time_zone_where_it_was_negotiated(ask):
    query = a_query(StudyDate="20240101", StudyTime="05-06", TimezoneOffsetFromUTC="+0100")

    answers = ask.find(query, extended=b"\1\0\0\1")

    assert found(answers, "StudyInstanceUID") == [GUSEVA]
    assert answers.matches[0].TimezoneOffsetFromUTC == "-0500"
    assert answers.matches[0].StudyTime == "233000"


def test_empty_values_are_looked_for_where_it_was_negotiated(ask):
    query = a_query(AccessionNumber='""')

    assert found(ask.find(query), "StudyInstanceUID") == []
    assert found(ask.find(query, extended=b"\0\0\0\0\0\1"), "StudyInstanceUID") == [NOBODY]


def test_several_values_are_all_wanted_where_it_was_negotiated(ask):
    query = a_query(ModalitiesInStudy=["CT", "SR"])

    assert set(found(ask.find(query), "StudyInstanceUID")) == {MUELLER, GUSEVA}
    assert found(ask.find(query, extended=b"\0\0\0\0\0\0\1"), "StudyInstanceUID") == [MUELLER]


# Character sets


@pytest.mark.parametrize(
    ("terms", "name", "study"),
    [
        ("ISO_IR 100", "Müller*", MUELLER),
        ("ISO_IR 144", "Гусева*", GUSEVA),
        (["", "ISO 2022 IR 87"], "*=山田*=やまだ*", YAMADA),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "*=山田*", YAMADA),
        ("GB18030", "山田*", YAMADA),
        ("ISO_IR 192", "Гусева*", GUSEVA),
    ],
)
def test_names_are_asked_and_told_in_the_character_set_of_the_request(ask, terms, name, study):
    answers = ask.find(a_query(SpecificCharacterSet=terms, PatientName=name, StudyInstanceUID=""))

    assert found(answers, "StudyInstanceUID") == [study]
    told = answers.matches[0].SpecificCharacterSet
    asked = terms if isinstance(terms, str) else [term or "ISO 2022 IR 6" for term in terms]
    assert told == asked
    names = {MUELLER: "Müller^Jürgen", GUSEVA: "Гусева^Мария", YAMADA: "Yamada^Tarou=山田^太郎=やまだ^たろう"}
    assert answers.matches[0].PatientName == names[study]


def test_what_the_set_of_the_request_lacks_is_told_in_utf_8(ask):
    answers = ask.find(a_query(SpecificCharacterSet="ISO_IR 126", PatientName="Yamada*"))

    assert answers.matches[0].SpecificCharacterSet == "ISO_IR 192"
    assert answers.matches[0].PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_a_peer_known_for_a_character_set_asks_and_is_told_in_it(ground, port):
    ask = Asker(ground, port, calling="LATIN", syntax=IMPLICIT_LE)
    content = encoded(a_query(PatientName="M?ller*")).replace(b"M?ller", b"M\xfcller")

    (match,) = ask.find_bytes(content).matches
    (other,) = ask.find(a_query(PatientName="Yamada*")).matches

    assert match.SpecificCharacterSet == other.SpecificCharacterSet == "ISO_IR 100"
    assert match.PatientName == "Müller^Jürgen"
    assert other.PatientName == "Yamada^Tarou=??^??=???^???"


# Hostile identifiers

HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
    "cut": encoded(a_query(PatientName="A*"))[:-3],
    "a lie": b"\x08\0\x52\0\xff\xff\xff\x7fSTUDY ",
    "nests": b"\x40\0\x75\x02\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20000,
    "too long": b"\x10\0\x20\0" + (1 << 21).to_bytes(4, "little") + bytes(1 << 21),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_identifiers_are_refused_and_the_association_goes_on(port, content):
    with RawPeer(("127.0.0.1", port)) as peer:
        peer.associate(a_context(1, STUDY_ROOT, IMPLICIT_LE), a_context(3, "1.2.840.10008.1.1", IMPLICIT_LE))
        send_find(peer, content)

        assert peer.response().status == MISMATCH
        peer.send(an_echo(3))
        assert peer.response().status == SUCCESS


def test_a_find_without_an_identifier_is_refused(port):
    with RawPeer(("127.0.0.1", port)) as peer:
        peer.associate(a_context(1, STUDY_ROOT, IMPLICIT_LE))
        command = a_command(Operation.C_FIND, has_data=False, affected_sop_class=STUDY_ROOT)
        peer.send(p_data(1, command, command=True))

        assert peer.response().status == MISMATCH


def test_a_find_on_a_context_of_another_class_is_refused(port):
    with RawPeer(("127.0.0.1", port)) as peer:
        peer.associate(a_context(1, "1.2.840.10008.1.1", IMPLICIT_LE))
        send_find(peer, encoded(a_query()))

        assert peer.response().status == 0x0122


def test_contexts_prefer_what_says_most_about_its_data(port):
    with RawPeer(("127.0.0.1", port)) as peer:
        accepted = peer.associate(
            a_context(1, STUDY_ROOT, IMPLICIT_LE, EXPLICIT_BE, EXPLICIT_LE),
            a_context(3, STUDY_ROOT, IMPLICIT_LE),
            a_context(5, STUDY_ROOT, DEFLATED),
            a_context(7, STUDY_ROOT, "1.2.840.10008.1.2.4.50"),
        )

    told = [(context.result, context.syntax) for context in accepted.contexts]
    assert told[:3] == [(0, EXPLICIT_LE), (0, IMPLICIT_LE), (0, DEFLATED)]
    assert told[3][0] == 4


def send_find(peer: RawPeer, content: bytes) -> None:
    command = a_command(Operation.C_FIND, has_data=True, affected_sop_class=STUDY_ROOT, priority=0)
    peer.send(p_data(1, command, command=True))
    peer.send(p_data(1, content, command=False))


# Independent peers


@pytest.mark.skipif(shutil.which("findscu") is None, reason="DCMTK's findscu is not installed")
@pytest.mark.parametrize("flag", ["-P", "-S"])
@pytest.mark.parametrize("form", ["-xi", "-xe", "-xb"])
def test_dcmtk_finds(port, flag, form):
    keys = ["QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.1", "Modality", "SeriesDescription"]
    command = ["findscu", "-v", flag, *(word for key in keys for word in ("-k", key)), form]
    ran = subprocess.run(
        [*command, "-aec", "ISTHMUS", "127.0.0.1", str(port)],
        env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert len(re.findall(r"Find Response: \d+ \(Pending\)", ran.stderr)) == 2
    assert "Received Final Find Response (Success)" in ran.stderr
    assert "[AXIAL ]" in ran.stderr


def test_pynetdicom_finds_with_extended_negotiation(port):
    entity = AE(ae_title="PYNETDICOM")
    entity.add_requested_context(STUDY_ROOT, [EXPLICIT_LE, IMPLICIT_LE])
    offered = SOPClassExtendedNegotiation()
    offered.sop_class_uid = STUDY_ROOT
    offered.service_class_application_information = b"\1\1\1\1\1"
    association = entity.associate("127.0.0.1", port, ae_title="ISTHMUS", ext_neg=[offered])
    assert association.is_established

    agreed = association.acceptor.sop_class_extended
    query = a_query(SpecificCharacterSet="ISO_IR 192", PatientName="jür mül", StudyDate="")
    answers = list(association.send_c_find(query, STUDY_ROOT))
    association.release()

    assert agreed == {STUDY_ROOT: b"\1\1\1\1\0"}
    assert [status.Status for status, _ in answers] == [PENDING, SUCCESS]
    identifier = answers[0][1]
    assert identifier is not None and identifier.PatientName == "Müller^Jürgen"
