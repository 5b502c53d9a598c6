"""Storage commitment: what is asked, kept, decided and reported (PS3.4 annex J)."""

import logging
import shutil
from typing import Any

import pytest

from bridge.upper import pdu
from bridge.upper.command import Operation
from tests.dimse.committing import (
    MR_IMAGE,
    PUSH,
    Asker,
    Holder,
    Reports,
    Start,
    an_action,
    an_event,
    modality,
    receiver,
    unused_port,
)
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    VERIFICATION,
    RawPeer,
    a_command,
    a_context,
    a_uid,
    an_echo,
    p_data,
)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_what_is_held_is_committed_on_the_association_of_the_request(
    start: Start, holder: Holder, syntax: str
):
    bridge, reports, transaction = start(), Reports(), a_uid()
    wanted = holder.holds(250)
    asker = Asker(bridge, reports, syntax=syntax)

    status = asker.ask(wanted, transaction)
    report = reports.next()
    asker.release()

    assert status == 0x0000
    assert (report.event_type, report.information.TransactionUID) == (1, transaction)
    assert report.committed == wanted
    assert report.failed == {}
    assert report.information.RetrieveAETitle == "KEEPER"
    assert [len(uids) for uids in holder.asked] == [100, 100, 50]
    bridge.settle()


def test_what_is_not_held_and_what_is_of_another_class_fails(start: Start, holder: Holder):
    bridge, reports = start(), Reports()
    held, other, missing = holder.holds(2), holder.holds(1, MR_IMAGE), (CT_IMAGE, a_uid())
    wrong = (CT_IMAGE, other[0][1])
    asker = Asker(bridge, reports)

    asker.ask([held[0], missing, wrong, held[1]], a_uid())
    report = reports.next()
    asker.release()

    assert report.event_type == 2
    assert report.committed == held
    assert report.failed == {missing: 0x0112, wrong: 0x0119}


def test_nothing_committed_has_no_list_of_what_is(start: Start):
    reports = Reports()
    asker = Asker(start(), reports)

    asker.ask([(CT_IMAGE, a_uid())], a_uid())
    report = reports.next()
    asker.release()

    assert "ReferencedSOPSequence" not in report.information
    assert "RetrieveAETitle" not in report.information


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"TransactionUID": None}, 0x0115),
        ({"TransactionUID": ""}, 0x0115),
        ({"ReferencedSOPSequence": None}, 0x0115),
        ({"ReferencedSOPSequence": []}, 0x0115),
    ],
)
def test_a_request_that_is_wrong_is_refused(start: Start, given: dict[str, Any], status: int):
    bridge, reports = start(), Reports()
    asker = Asker(bridge, reports)

    assert asker.ask([(CT_IMAGE, a_uid())], a_uid(), **given) == status
    asker.release()
    assert bridge.kept == []


def test_a_report_goes_to_a_peer_that_hangs_up(start: Start, holder: Holder):
    reports, wanted = Reports(), holder.holds(1)
    with receiver(reports) as port:
        bridge = start(peers=[modality(port)])
        holder.open.clear()
        asker = Asker(bridge)
        asker.ask(wanted, a_uid())
        asker.release()
        holder.open.set()

        report = reports.next()

    assert report.committed == wanted
    assert report.calling == "OURS"


def test_a_report_may_go_to_a_peer_that_knows_no_roles(start: Start, holder: Holder):
    reports, wanted = Reports(), holder.holds(1)
    with receiver(reports, roles=False) as port:
        asker = Asker(start(peers=[modality(port)]))
        asker.ask(wanted, a_uid())
        asker.release()

        assert reports.next().committed == wanted


def test_a_peer_that_is_away_is_called_again(start: Start, holder: Holder):
    reports, port = Reports(), unused_port()
    wanted = [holder.holds(1), holder.holds(2)]
    bridge = start(peers=[modality(port)])
    for references in wanted:
        asker = Asker(bridge)
        asker.ask(references, a_uid())
        asker.release()
    holder.wait_for(lambda: len(holder.asked) == 2)

    with receiver(reports, port=port):
        arrived = [reports.next().committed for _ in wanted]

    assert sorted(arrived) == sorted(wanted)
    bridge.settle()


def test_a_peer_that_cannot_take_a_report_gets_it_again(start: Start, holder: Holder):
    reports, transaction = Reports(0x0110, 0x0110, 0x0213), a_uid()
    with receiver(reports) as port:
        bridge = start(peers=[modality(port)])
        asker = Asker(bridge)
        asker.ask(holder.holds(1), transaction)
        asker.release()
        arrived = [reports.next() for _ in range(4)]
        bridge.settle()

    assert {report.information.TransactionUID for report in arrived} == {transaction}
    assert reports.arrived.empty()


def test_a_peer_that_does_not_know_the_transaction_is_not_called_again(start: Start, holder: Holder):
    reports = Reports(0x0115)
    with receiver(reports) as port:
        bridge = start(peers=[modality(port)])
        asker = Asker(bridge)
        asker.ask(holder.holds(1), a_uid())
        asker.release()
        reports.next()

        bridge.settle()


def test_a_report_that_nobody_takes_is_given_up(start: Start, holder: Holder):
    bridge = start(peers=[modality(unused_port())], report_s=0.3)
    asker = Asker(bridge)
    asker.ask(holder.holds(1), a_uid())
    asker.release()

    bridge.settle()


def test_an_unknown_caller_gets_its_report_where_it_asked_or_not_at_all(
    start: Start, holder: Holder, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "isthmus.commitment")
    bridge, reports, transaction = start(), Reports(), a_uid()
    holder.open.clear()
    asker = Asker(bridge, reports)
    assert asker.ask(holder.holds(1), transaction) == 0x0000
    asker.release()

    holder.open.set()
    bridge.settle()

    assert reports.arrived.empty()
    assert f"transaction={transaction} of a caller without an address" in caplog.text


def test_the_same_request_again_is_the_same_transaction(start: Start, holder: Holder):
    bridge, reports, transaction = start(), Reports(), a_uid()
    wanted = holder.holds(3)
    holder.open.clear()
    first, second = Asker(bridge), Asker(bridge, reports)

    answers = [first.ask(wanted, transaction), second.ask(wanted, transaction)]
    first.release()
    holder.open.set()
    report = reports.next()
    second.release()

    assert answers == [0x0000, 0x0000]
    assert report.committed == wanted
    bridge.settle()
    assert len(holder.asked) == 1


def test_another_request_with_an_open_transaction_uid_is_refused(start: Start, holder: Holder):
    bridge, reports, transaction = start(), Reports(), a_uid()
    wanted, other = holder.holds(1), holder.holds(1)
    holder.open.clear()
    asker, late = Asker(bridge, reports), Asker(bridge)

    answers = [asker.ask(wanted, transaction), late.ask(other, transaction)]
    late.release()
    holder.open.set()

    assert answers == [0x0000, 0x0131]
    assert reports.next().committed == wanted
    asker.release()


def test_a_transaction_uid_may_be_used_again_after_its_report(start: Start, holder: Holder):
    bridge, reports, transaction = start(), Reports(), a_uid()
    asker = Asker(bridge, reports)
    for references in (holder.holds(1), holder.holds(2)):
        assert asker.ask(references, transaction) == 0x0000
        assert reports.next().committed == references
        bridge.settle()
    asker.release()


def test_thousands_of_references_are_one_request(start: Start, holder: Holder):
    wanted = holder.holds(6000)
    reports = Reports()
    asker = Asker(start(), reports)

    assert asker.ask(wanted, a_uid()) == 0x0000
    assert reports.next().committed == wanted
    asker.release()


def test_more_references_than_may_be_are_refused(start: Start, holder: Holder):
    bridge = start(identifier_bytes=10_000, references=30)
    asker = Asker(bridge)

    answers = [asker.ask(holder.holds(count), a_uid()) for count in (200, 31)]
    asker.release()

    assert answers == [0x0213, 0x0213]
    assert bridge.kept == []


def test_more_transactions_than_may_be_are_refused(start: Start, holder: Holder):
    bridge = start(peers=[modality(unused_port())], transactions_per_caller=2)
    holder.open.clear()
    asker = Asker(bridge)

    answers = [asker.ask(holder.holds(1), a_uid()) for _ in range(3)]
    asker.release()

    assert answers == [0x0000, 0x0000, 0x0213]
    assert len(bridge.kept) == 2


def test_what_cannot_be_kept_is_not_taken(start: Start, holder: Holder):
    bridge = start()
    asker = Asker(bridge)
    shutil.rmtree(bridge.settings.state / "commitments")

    assert asker.ask(holder.holds(1), a_uid()) == 0x0110
    asker.release()


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_archive_that_cannot_say_is_asked_again(start: Start, holder: Holder, status: int):
    holder.statuses = [status] * 3
    wanted, reports = holder.holds(1), Reports()
    asker = Asker(start(), reports)
    asker.ask(wanted, a_uid())

    assert reports.next().committed == wanted
    assert len(holder.asked) == 4
    asker.release()


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (405, 1), (400, 1), (501, 1), (503, 20)])
def test_what_the_archive_never_says_has_failed(start: Start, holder: Holder, status: int, asked: int):
    holder.statuses = [status] * 1000
    wanted, reports = holder.holds(2), Reports()
    asker = Asker(start(search_s=0.3), reports)
    asker.ask(wanted, a_uid())

    report = reports.next()
    asker.release()

    assert report.failed == dict.fromkeys(wanted, 0x0110)
    assert 1 <= len(holder.asked) <= asked


def test_lists_that_are_too_long_for_the_archive_are_halved(start: Start, holder: Holder):
    holder.longest = 2000
    wanted, reports = holder.holds(150), Reports()
    asker = Asker(start(), reports)
    asker.ask(wanted, a_uid())

    assert reports.next().committed == wanted
    asker.release()


def test_an_archive_that_caps_its_answers_is_asked_for_the_rest(start: Start, holder: Holder):
    holder.cap = 7
    wanted, reports = holder.holds(20), Reports()
    missing = (CT_IMAGE, a_uid())
    asker = Asker(start(), reports)
    asker.ask([*wanted, missing], a_uid())

    report = reports.next()
    asker.release()

    assert report.committed == wanted
    assert report.failed == {missing: 0x0112}


def test_reports_wait_while_the_peer_goes_on_asking(start: Start, holder: Holder):
    bridge = start(quiet_s=2.0)
    wanted = [holder.holds(1) for _ in range(5)]
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, PUSH))
        answers = []
        for references in wanted:
            peer.send(an_action(references, a_uid()))
            answers.append(peer.response())

        fields = [an_event(peer) for _ in wanted]

    assert [answer.field for answer in answers] == [0x8130] * 5
    assert fields == [0x0100] * 5
    bridge.settle()


def test_a_peer_that_is_silent_to_a_report_gets_it_on_a_new_association(start: Start, holder: Holder):
    reports, wanted = Reports(), holder.holds(1)
    with receiver(reports) as port:
        bridge = start(peers=[modality(port)], answer_s=0.1)
        with RawPeer(bridge.address) as peer:
            peer.associate(a_context(1, PUSH), calling=b"MODALITY")
            peer.send(an_action(wanted, a_uid()))
            assert peer.response().status == 0

            assert reports.next().committed == wanted
            bridge.settle()
            assert peer.response().field == 0x0100
            peer.next_pdu()  # the report that it was silent to
            peer.send(pdu.release_rq())
            assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RP  # its association goes on


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"requested_sop_class": CT_IMAGE}, 0x0118),
        ({"requested_sop_instance": "1.2.3"}, 0x0112),
        ({"requested_sop_class": "", "requested_sop_instance": ""}, 0x0000),
        ({"action_type": 0}, 0x0123),
    ],
)
def test_the_command_set_is_checked(start: Start, holder: Holder, values: dict[str, Any], status: int):
    bridge = start()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, PUSH), a_context(3, VERIFICATION))
        peer.send(an_action(holder.holds(1), a_uid(), **values))
        answered = peer.response()

    assert (answered.field, answered.status) == (0x8130, status)


@pytest.mark.parametrize("content", [b"", b"\0", b"\x08\0\x95\x11UI\xff\xff1.2", bytes(100), b"noise" * 50])
def test_action_information_that_cannot_be_read_is_refused(start: Start, content: bytes):
    with RawPeer(start().address) as peer:
        peer.associate(a_context(1, PUSH), a_context(3, VERIFICATION))
        peer.send(an_action([], "1.2", content=content))
        assert peer.response().status == 0x0115

        peer.send(an_echo(3))
        assert peer.response().status == 0


def test_an_action_without_information_or_on_another_context_is_refused(start: Start):
    with RawPeer(start().address) as peer:
        peer.associate(a_context(1, PUSH), a_context(3, VERIFICATION))
        command = a_command(Operation.N_ACTION, has_data=False, requested_sop_class=PUSH, action_type=1)
        answers = []
        for context_id in (1, 3):
            peer.send(p_data(context_id, command, command=True))
            answers.append(peer.response().status)

    assert answers == [0x0115, 0x0122]


def test_a_context_for_which_no_data_set_can_be_written_is_refused(start: Start):
    with RawPeer(start().address) as peer:
        accepted = peer.associate(
            a_context(1, PUSH, "1.2.840.10008.1.2.2"), a_context(3, PUSH, "1.2.840.10008.1.2.2", IMPLICIT_LE)
        )

    assert [(each.result, each.syntax) for each in accepted.contexts][1] == (0, IMPLICIT_LE)
    assert accepted.contexts[0].result == 4
