"""C-FIND of the modality worklist: every kind of matching, keys, statuses (PS3.4 annex K)."""

from ipaddress import ip_network

import pytest
from pydicom.dataset import Dataset

from bridge import scu
from bridge.peers import Peer, Peers
from bridge.settings import Limits
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.finding import Asker
from tests.dimse.worklist.scheduling import ITEMS, WORKLIST, a_request, an_item, patients
from tests.identifiers import encoded

LOOPBACK = (ip_network("127.0.0.0/8"),)
ALL = {"P1", "P2", "P3", "p4", "P5"}

STEP_KEYS = [
    ("Modality", "", ALL),
    ("Modality", "CT", {"P1", "P3", "p4"}),
    ("Modality", ["MR", "US"], {"P2", "P5"}),
    ("Modality", "ct", set()),
    ("ScheduledStationAETitle", "CT1", {"P1", "P3", "p4"}),
    ("ScheduledStationAETitle", "CT2", {"p4"}),
    ("ScheduledStationAETitle", "?T1", {"P1", "P3", "p4"}),
    ("ScheduledProcedureStepStartDate", "20240115", {"P1"}),
    ("ScheduledProcedureStepStartDate", "20240115-20240117", {"P1", "P2", "P3", "p4"}),
    ("ScheduledProcedureStepStartDate", "20240117-", {"P3", "p4", "P5"}),
    ("ScheduledProcedureStepStartDate", "-20240116", {"P1", "P2"}),
    ("ScheduledProcedureStepStartDate", "2024.01.15", {"P1"}),
    ("ScheduledProcedureStepStartTime", "083000", {"P1"}),
    ("ScheduledProcedureStepStartTime", "0700-0900", {"P1", "p4"}),
    ("ScheduledPerformingPhysicianName", "grey^m*", {"P1"}),
    ("ScheduledProcedureStepDescription", "Abd*", {"P5"}),
    ("ScheduledProcedureStepID", "S2", {"P2"}),
    ("ScheduledProcedureStepID", "*", ALL),
]
REQUEST_KEYS = [
    ("PatientName", "doe^jane1", {"P1"}),
    ("PatientName", "Müller*", {"P3"}),
    ("PatientName", "山田*", {"p4"}),
    ("PatientName", "*^Jane?", {"P1", "P2", "P5"}),
    ("PatientID", "P4", set()),
    ("PatientID", "p4", {"p4"}),
    ("PatientID", "P?", {"P1", "P2", "P3", "P5"}),
    ("PatientBirthDate", "1970", {"P1"}),
    ("AccessionNumber", "A3", {"P3"}),
    ("RequestedProcedureID", "R1\\R2", {"P1", "P2"}),
    ("StudyInstanceUID", ["1.2.3.1", "1.2.3.5"], {"P1", "P5"}),
]


@pytest.mark.parametrize(("keyword", "value", "found"), STEP_KEYS)
def test_a_key_of_the_step_finds(scheduled, keyword, value, found):
    assert patients(scheduled.ask(a_request(**{keyword: value}))) == found


@pytest.mark.parametrize(("keyword", "value", "found"), REQUEST_KEYS)
def test_a_key_of_the_request_finds(scheduled, keyword, value, found):
    query = a_request(**{f"request_{keyword}": value, "request_SpecificCharacterSet": "ISO_IR 192"})
    assert patients(scheduled.ask(query)) == found


@pytest.mark.parametrize(
    ("date", "time", "found"),
    [
        ("20240115-20240117", "090000-190000", {"P2", "p4"}),
        ("20240115-20240117", "083000-200000", {"P1", "P2", "P3", "p4"}),
        ("20240115-20240117", "0831-", {"P2", "P3", "p4"}),
        ("20240115-20240117", "-0730", {"P1", "P2", "p4"}),
        ("20240116-", "1000-", {"P2", "P3", "p4", "P5"}),
        ("20240117", "0700-0900", {"p4"}),
        ("20240115-20240117", "1000", {"P2"}),
    ],
)
def test_ranges_of_date_and_time_are_one_interval(scheduled, date, time, found):
    query = a_request(ScheduledProcedureStepStartDate=date, ScheduledProcedureStepStartTime=time)
    assert patients(scheduled.ask(query)) == found


def test_keys_of_the_step_and_of_the_request_are_all_satisfied(scheduled):
    query = a_request(Modality="CT", ScheduledProcedureStepStartDate="20240117", request_PatientID="P*")
    assert patients(scheduled.ask(query)) == {"P3"}


def test_an_answer_has_the_keys_that_were_asked_and_no_others(scheduled):
    query = a_request(ScheduledProcedureStepDescription="", request_PatientSex="", request_PatientWeight="")
    query.ReferencedStudySequence = []
    query.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence = [Dataset()]
    query.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence[0].CodeValue = ""
    query.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID = "S1"

    (match,) = scheduled.ask(query).matches

    assert [element.keyword for element in match] == [element.keyword for element in query]
    (step,) = match.ScheduledProcedureStepSequence
    asked = query.ScheduledProcedureStepSequence[0]
    assert [element.keyword for element in step] == [element.keyword for element in asked]
    assert (step.Modality, step.ScheduledStationAETitle, step.ScheduledProcedureStepID) == ("CT", "CT1", "S1")
    assert not step.ScheduledProcedureStepDescription
    assert len(step.ScheduledProtocolCodeSequence) == 0
    assert match.PatientWeight is None


def test_a_sequence_that_is_asked_without_items_is_told_whole(scheduled):
    query = Dataset()
    query.PatientID = "P1"
    query.ScheduledProcedureStepSequence = []

    (match,) = scheduled.ask(query).matches

    (step,) = match.ScheduledProcedureStepSequence
    assert step.ScheduledPerformingPhysicianName == "Grey^Meredith"
    assert "QueryRetrieveLevel" not in match and "RetrieveAETitle" not in match


@pytest.mark.parametrize(
    ("charset", "name", "declared"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO_IR 192", "Müller^Jürgen", "ISO_IR 192"),
        (None, "Müller^Jürgen", "ISO_IR 192"),
    ],
)
def test_text_is_told_in_the_character_set_of_the_request(scheduled, charset, name, declared):
    query = a_request(request_PatientName="", ScheduledProcedureStepID="S3")
    if charset:
        query.SpecificCharacterSet = charset

    (match,) = scheduled.ask(query).matches

    assert match.PatientName == name
    assert match.SpecificCharacterSet == declared


def test_a_key_that_cannot_be_matched_is_said_in_the_status(scheduled):
    answers = scheduled.ask(a_request(ScheduledProcedureStepStartDate="2024*"))

    assert patients(answers) == ALL
    assert set(answers.pending) == {0xFF01}


def test_strict_peers_are_refused_what_is_wrong(start):
    peer = Peer("strict", "STRICT", "127.0.0.1", 104, strict=True, callers=LOOPBACK)
    bridge = start(peers=Peers([peer]))
    bridge.push(ITEMS)

    answers = bridge.ask(a_request(ScheduledProcedureStepStartDate="2024*"), calling="STRICT")

    assert answers.final.status == 0xA900


def test_two_items_in_the_step_sequence_are_refused(scheduled):
    query = a_request(Modality="CT")
    query.ScheduledProcedureStepSequence.append(query.ScheduledProcedureStepSequence[0])

    assert scheduled.ask(query).final.status == 0xA900


def test_names_are_found_by_their_words_where_that_is_negotiated(scheduled):
    query = a_request(request_PatientName="jür mül", request_SpecificCharacterSet="ISO_IR 192")

    assert patients(scheduled.ask(query)) == set()
    assert patients(scheduled.ask(query, extended=b"\1\1\1")) == {"P3"}


def test_who_may_not_ask_is_told_so(start):
    peer = Peer("ct", "CT1", "127.0.0.1", 104, services=frozenset({"echo"}), callers=LOOPBACK)
    bridge = start(peers=Peers([peer]))

    assert bridge.ask(calling="CT1").final.status == 0x0124


def test_without_a_source_the_class_is_not_offered(start):
    bridge = start("none")

    async def accepted() -> bool:
        async with Asker(bridge.ground, bridge.port).association(WORKLIST) as association:
            return scu.context_for(association, WORKLIST) is not None

    assert not bridge.ground.run(accepted())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_both_transfer_syntaxes_are_answered(scheduled, syntax):
    assert patients(scheduled.ask(syntax=syntax)) == ALL


def test_a_query_of_many_steps_is_cancelled(start):
    bridge = start()
    bridge.push([an_item(number) for number in range(1200)])

    async def cancelled() -> tuple[int, int]:
        async with Asker(bridge.ground, bridge.port).association(WORKLIST) as association:
            context = scu.context_for(association, WORKLIST)
            assert context is not None
            found = scu.find(association, context.context_id, encoded(a_request(), context.syntax), Limits())
            first = await anext(found)
            await found.aclose()
            again = [
                one async for one in scu.find(
                    association, context.context_id,
                    encoded(a_request(ScheduledProcedureStepID="S7"), context.syntax), Limits(),
                )
            ]  # fmt: skip
            return first.status, len(again)

    assert bridge.ground.begin(cancelled()).result(PATIENCE_S) == (0xFF00, 2)
