"""C-FIND over the bridge into a real service (PS3.4 C.4.1, C.6)."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, cast

import pytest
import uvloop
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from bridge.peers import Peer, Peers
from bridge.remote import RemoteArchive
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.settings import ArchiveSettings, BridgeSettings
from bridge.upper.command import Operation
from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.conformance.searching import GUSEVA, MR, MUELLER, NOBODY, SR, YAMADA, fill
from tests.dimse.dimse_peers import PATIENCE_S, Ground, RawPeer, a_command, a_context, an_echo, p_data
from tests.dimse.finding import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, Answers, Asker, Library
from tests.identifiers import a_query, encoded
from tests.sites import Site

PENDING, UNSUPPORTED, SUCCESS, MISMATCH = 0xFF00, 0xFF01, 0x0000, 0xA900
ALL = {YAMADA, MUELLER, GUSEVA, NOBODY}

LOOPBACK = (ip_network("127.0.0.0/8"),)
PEERS = Peers(
    [
        Peer("latin", "LATIN", "127.0.0.1", 104, charset="ISO_IR 100", callers=LOOPBACK),
        Peer("strict", "STRICT", "127.0.0.1", 104, strict=True, callers=LOOPBACK),
    ]
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a bridge in front of a service that holds four studies."""
    ground = Ground(uvloop.new_event_loop)
    library = Library(ground)
    fill(cast(Site, library))
    settings = BridgeSettings(port=0, peers=PEERS, archive=ArchiveSettings(url=library.url))

    async def begin() -> tuple[RemoteArchive, Listener, int]:
        remote = RemoteArchive(settings.archive)
        listener = Listener(settings, [Echo(), Find(remote, settings)], lambda report: None)
        return remote, listener, (await listener.start())[1]

    remote, listener, chosen = ground.run(begin())
    yield chosen
    ground.begin(listener.drain(0.0)).result(PATIENCE_S)
    ground.run(remote.close())
    library.close()
    ground.end()


@pytest.fixture
def ask(ground: Ground, port: int) -> Asker:
    return Asker(ground, port)


def found(answers: Answers, keyword: str) -> list[str]:
    assert answers.final.status == SUCCESS, answers.final
    return [str(match[keyword].value) for match in answers.matches]


# Every key at every level, PS3.4 Tables C.6-1 to C.6-5: what is asked, and the UIDs found.

CT_SERIES, SR_SERIES, MR_SERIES, NO_SERIES, OLD_CT, PT_SERIES = (
    "1.1.1", "1.1.2", "1.2.1", "1.3.1", "1.4.1", "1.4.2",
)  # fmt: skip
EACH = {CT_SERIES, SR_SERIES, MR_SERIES, NO_SERIES, OLD_CT, PT_SERIES}

PATIENT_KEYS = [
    ("PatientID", "P2", {"P2"}),
    ("PatientID", "P?", {"P1", "P2"}),
    ("PatientName", "Müller^J*", {"P1"}),
    ("PatientBirthDate", "19700203", {"P1"}),
    ("PatientBirthDate", "1960-1980", {"P1"}),
    ("PatientSex", "M", {"P1"}),
    ("IssuerOfPatientID", "", {"P1", "P2", "p1", ""}),
]
STUDY_KEYS = [
    ("StudyInstanceUID", YAMADA, {YAMADA}),
    ("StudyInstanceUID", [YAMADA, GUSEVA, "9.9"], {YAMADA, GUSEVA}),
    ("StudyDate", "20240115", {MUELLER}),
    ("StudyDate", "20240101-20240301", {MUELLER, YAMADA}),
    ("StudyDate", "-20231231", {GUSEVA}),
    ("StudyTime", "0800", {YAMADA}),
    ("StudyTime", "10-11", {MUELLER}),
    ("AccessionNumber", "A2", {YAMADA}),
    ("AccessionNumber", "A?", {MUELLER, YAMADA, GUSEVA}),
    ("StudyID", "S1", {MUELLER, YAMADA}),
    ("PatientName", "yamada^tarou", {YAMADA}),
    ("PatientName", "山田*", {YAMADA}),
    ("PatientName", "гусева*", {GUSEVA}),
    ("PatientID", "p1", {GUSEVA}),
    ("PatientID", "P1\\P2", {MUELLER, YAMADA}),
    ("ModalitiesInStudy", "SR", {MUELLER}),
    ("ModalitiesInStudy", ["SR", "MR"], {MUELLER, YAMADA}),
    ("SOPClassesInStudy", MR, {YAMADA}),
    ("ReferringPhysicianName", "ref*", {MUELLER}),
    ("StudyDescription", "Thorax, Abdomen", {MUELLER}),
    ("PatientBirthDate", "19700203", {MUELLER}),
    ("PatientSex", "M", {MUELLER}),
    ("InstitutionName", "Hosp*", {MUELLER}),
    ("NumberOfStudyRelatedSeries", "2", {MUELLER, GUSEVA}),
    ("NumberOfStudyRelatedInstances", "3", {MUELLER}),
    ("StudyDate", "", ALL),
    ("PatientName", "*", ALL),
]
SERIES_KEYS = [
    ("SeriesInstanceUID", PT_SERIES, {PT_SERIES}),
    ("SeriesInstanceUID", [PT_SERIES, CT_SERIES], {PT_SERIES, CT_SERIES}),
    ("StudyInstanceUID", MUELLER, {CT_SERIES, SR_SERIES}),
    ("StudyInstanceUID", [MUELLER, YAMADA], {CT_SERIES, SR_SERIES, MR_SERIES}),
    ("Modality", "PT", {PT_SERIES}),
    ("Modality", ["MR", "PT"], {MR_SERIES, PT_SERIES}),
    ("SeriesNumber", "10", {PT_SERIES}),
    ("SeriesDescription", "AX*", {CT_SERIES}),
    ("BodyPartExamined", "CHEST", {CT_SERIES}),
    ("PerformedProcedureStepStartDate", "20240115", {CT_SERIES}),
    ("PerformedProcedureStepStartTime", "10-11", {CT_SERIES}),
    ("NumberOfSeriesRelatedInstances", "2", {CT_SERIES}),
    ("PatientName", "Müller*", {CT_SERIES, SR_SERIES}),
    ("PatientID", "p1", {OLD_CT, PT_SERIES}),
    ("Laterality", "", EACH),
]
IMAGE_KEYS = [
    ("SOPInstanceUID", "1.1.1.2", {"1.1.1.2"}),
    ("SOPInstanceUID", ["1.1.1.2", "1.4.2.1"], {"1.1.1.2", "1.4.2.1"}),
    ("SeriesInstanceUID", CT_SERIES, {"1.1.1.1", "1.1.1.2"}),
    ("StudyInstanceUID", MUELLER, {"1.1.1.1", "1.1.1.2", "1.1.2.1"}),
    ("InstanceNumber", "2", {"1.1.1.1"}),
    ("SOPClassUID", SR, {"1.1.2.1"}),
    ("SOPClassUID", [SR, MR], {"1.1.2.1", "1.2.1.1"}),
    ("Rows", 4, {"1.1.1.1", "1.1.1.2", "1.2.1.1", "1.4.1.1"}),
    ("BitsAllocated", 8, set()),
    ("NumberOfFrames", "1", {"1.2.1.1"}),
    ("ImageType", "AXIAL", {"1.1.1.1", "1.1.1.2"}),
    ("SliceThickness", "2.5", {"1.1.1.1", "1.1.1.2"}),
    ("PatientPosition", "HF?", {"1.1.1.1", "1.1.1.2"}),
    ("AcquisitionDateTime", "20240301060000", {"1.2.1.1"}),
    ("Modality", "MR", {"1.2.1.1"}),
    ("StudyDate", "20240301", {"1.2.1.1"}),
    ("ContentDate", "20240301", set()),
]


def named(rows: list[tuple[str, Any, set[str]]]) -> Any:
    return pytest.mark.parametrize(
        ("keyword", "value", "expected"), rows, ids=[f"{keyword}={value}" for keyword, value, _ in rows]
    )


def a_request(level: str, keyword: str, value: Any, **more: Any) -> Dataset:
    return a_query(level, SpecificCharacterSet="ISO_IR 192", **{**more, keyword: value})


@named(PATIENT_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, PATIENT_STUDY_ONLY], ids=["patient root", "only"])
def test_keys_of_patients(ask, root, keyword, value, expected):
    answers = ask.find(a_request("PATIENT", keyword, value), root)

    assert set(found(answers, "PatientID")) == expected
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match for match in answers.matches)


@named(STUDY_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_studies(ask, root, keyword, value, expected):
    answers = ask.find(a_request("STUDY", keyword, value), root)

    assert sorted(found(answers, "StudyInstanceUID")) == sorted(expected)
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match for match in answers.matches)


@named(SERIES_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_series(ask, root, keyword, value, expected):
    answers = ask.find(a_request("SERIES", keyword, value), root)

    assert sorted(found(answers, "SeriesInstanceUID")) == sorted(expected)
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match and "StudyInstanceUID" in match for match in answers.matches)


@named(IMAGE_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_images(ask, root, keyword, value, expected):
    answers = ask.find(a_request("IMAGE", keyword, value), root)

    assert sorted(found(answers, "SOPInstanceUID")) == sorted(expected)
    assert set(answers.pending) <= {PENDING}
    assert all(keyword in match and "SeriesInstanceUID" in match for match in answers.matches)


def test_keys_inside_sequences_are_matched_on_one_item(ask):
    def having(step: str, procedure: str) -> Dataset:
        item = Dataset()
        item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
        return a_query("SERIES", RequestAttributesSequence=[item])

    assert found(ask.find(having("SPS1", "RP1")), "SeriesInstanceUID") == [CT_SERIES]
    assert found(ask.find(having("SPS1", "RP2")), "SeriesInstanceUID") == []
    (match,) = ask.find(having("SPS*", "")).matches
    assert [item.ScheduledProcedureStepID for item in match.RequestAttributesSequence] == ["SPS1", "SPS2"]


def test_private_keys_are_matched_and_returned_by_their_creator(ask):
    query = a_query("IMAGE", StudyInstanceUID=MUELLER, SeriesInstanceUID=CT_SERIES)
    query.private_block(0x0009, "OTHER", create=True).add_new(0x01, "LO", "of o*")

    answers = ask.find(query)

    assert len(answers.matches) == 2
    assert {match[0x00091001].value for match in answers.matches} == {"of others"}
    assert {match[0x00090010].value for match in answers.matches} == {"OTHER"}


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
