"""What associations leave in the audit trail."""

import dataclasses
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge import noting, statuses
from bridge.peers import Peers
from service.audit import codes
from service.audit.trail import Trail
from service.dicom.identifier import read_identifier
from service.dicom.syntaxes import BY_UID
from tests.audit_events import Heard
from tests.dimse.dimse_peers import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Bridge,
    Instance,
    RawPeer,
    a_context,
    a_store,
    a_uid,
    an_echo,
    an_instance,
)

Watch = Callable[..., tuple[Bridge, Trail, Heard]]


@pytest.fixture
def watch(start_bridge) -> Iterator[Watch]:
    trails: list[Trail] = []

    def begin(*, limit: int = 100, refusing: bool = False, **settings: Any) -> tuple[Bridge, Trail, Heard]:
        sink = Heard(refusing=refusing)
        trails.append(Trail(sink, limit=limit))
        bridge = start_bridge(**settings)
        bridge.listener._trail = trails[-1]
        return bridge, trails[-1], sink

    yield begin
    for trail in trails:
        trail.close(0.1)


def until(reached: Callable[[], object]) -> None:
    """Wait until something is so that other threads do."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if reached():
            return
        pause.wait(0.005)
    raise AssertionError("it never was so")


def of_patient(study: str, patient: bytes = b"SECRET-1") -> Instance:
    """An instance with a name and an id."""
    made = an_instance()

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    at = made.data.index(struct.pack("<HH2s", 0x0020, 0x000D, b"UI"))
    end = made.data.index(struct.pack("<HH2s", 0x0020, 0x000E, b"UI"))
    named = element(0x0010, 0x0010, b"PN", b"Doe^Jane") + element(0x0010, 0x0020, b"LO", patient)
    told = element(0x0020, 0x000D, b"UI", study.encode() + b"\0" * (len(study) % 2))
    return dataclasses.replace(made, data=made.data[:at] + named + told + made.data[end:])


def test_of_what_an_association_stores_the_first_of_a_study_is_told_at_once_and_the_others_together(
    watch: Watch, archive: Archive
):
    bridge, trail, sink = watch()
    first, second = a_uid(), a_uid()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, VERIFICATION, IMPLICIT_LE))
        for study in (first, second, first, first):
            peer.send(b"".join(a_store(of_patient(study))))
            assert peer.response().status == statuses.SUCCESS
        until(lambda: len(sink.events) == 2)  # while the association is open
        peer.send(an_echo(3))
        peer.response()
    bridge.report()
    trail.close(PATIENCE_S)

    told = [(study, sum(counts.values())) for one in sink.events for study, counts in one.studies.items()]
    assert told == [(first, 1), (second, 1), (first, 2)]
    assert {one.patients for one in sink.events} == {("SECRET-1",)}
    assert {(one.what, one.action, one.outcome) for one in sink.events} == {
        (codes.INSTANCES_TRANSFERRED, codes.CREATE, codes.SUCCESS)
    }
    assert "Doe" not in sink.text


def test_what_is_counted_is_told_after_a_while_though_the_association_stays_open(
    watch: Watch, archive: Archive, monkeypatch
):
    monkeypatch.setattr("bridge.witness._OPEN_S", 0.01)
    bridge, _, sink = watch()
    study = a_uid()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        for _ in range(3):
            peer.send(b"".join(a_store(of_patient(study))))
            assert peer.response().status == statuses.SUCCESS
        until(lambda: sum(one.requests for one in [*sink.events]) == 3)


def test_an_association_with_many_studies_keeps_few_places_of_the_trail(watch: Watch, archive: Archive):
    bridge, trail, _ = watch(limit=40)
    studies = [a_uid() for _ in range(60)]
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        for study in [one for one in studies for _ in range(2)]:
            peer.send(b"".join(a_store(of_patient(study))))
            assert peer.response().status == statuses.SUCCESS
            until(lambda: trail.load.waiting == 0)  # what is told takes a place only until it is written
    bridge.report()
    assert trail.load.refused == 0


def test_what_is_refused_is_told_apart(watch: Watch, archive: Archive):
    bridge, trail, sink = watch()
    archive.behaviours = [archive.store, archive.answering(409, failure=0xA900)]
    study = a_uid()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        for _ in range(2):
            peer.send(b"".join(a_store(of_patient(study))))
            peer.response()
    bridge.report()
    trail.close(PATIENCE_S)

    assert sorted(one.outcome for one in sink.events) == [codes.SUCCESS, codes.SERIOUS_FAILURE]


def test_an_instance_whose_end_never_comes_is_told_as_lost(watch: Watch, archive: Archive):
    bridge, trail, sink = watch()
    packets = a_store(an_instance(3 << 20))
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        for packet in packets[:-2]:
            peer.send(packet)
    bridge.report()
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert (event.outcome, event.outcome_text) == (codes.MINOR_FAILURE, "The association was lost.")


def test_a_rejected_association_is_a_security_alert(watch: Watch):
    bridge, trail, sink = watch(check_called_ae=True, ae_title="OTHER")
    with RawPeer(bridge.address) as peer:
        with pytest.raises(AssertionError):
            peer.associate(a_context(1))
        peer.wait_closed()
    bridge.report()
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert (event.what, event.types) == (codes.SECURITY_ALERT, (codes.NODE_AUTHENTICATION,))
    assert event.outcome == codes.SERIOUS_FAILURE
    assert event.participants[0].address == "127.0.0.1"


def test_what_a_peer_may_not_do_is_a_security_alert(watch: Watch):
    bridge, trail, sink = watch(peers=Peers(unknown=frozenset({"echo"}), loopback=frozenset({"echo"})))
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        peer.send(b"".join(a_store(an_instance())))
        assert peer.response().status == statuses.NOT_AUTHORIZED
    bridge.report()
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert (event.what, event.types) == (codes.SECURITY_ALERT, (codes.RESTRICTED_FUNCTION,))


def test_nothing_is_stored_that_could_not_be_told_and_echoes_are_answered(watch: Watch, archive: Archive):
    bridge, trail, sink = watch(limit=1, refusing=True)
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, VERIFICATION, IMPLICIT_LE))
        answers = []
        for _ in range(2):
            peer.send(b"".join(a_store(of_patient(a_uid()))))
            answers.append(peer.response().status)
        peer.send(an_echo(3))
        assert peer.response().status == statuses.SUCCESS
    bridge.report()

    assert answers == [statuses.SUCCESS, statuses.OUT_OF_RESOURCES]
    assert len(archive.parts) == 1
    assert trail.load.refused == 1
    sink.refusing = False


def test_keys_are_noted_without_the_values_that_say_who_somebody_is():
    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    content = (
        element(0x0008, 0x0052, b"CS", b"STUDY")
        + element(0x0010, 0x0010, b"PN", b"Doe*")
        + element(0x0010, 0x0020, b"LO", b"SECRET")
        + element(0x0020, 0x000D, b"UI", b"1.2.34")
        + element(0x0020, 0x0010, b"SH", b"")
    )
    notes = noting.begin()

    noting.note_identifier(read_identifier(content, BY_UID[EXPLICIT_LE]))

    assert (
        notes.keys
        == "QueryRetrieveLevel=STUDY&PatientName=...&PatientID=...&StudyInstanceUID=1.2.34&StudyID="
    )
    assert notes.patients == ("SECRET",)


@pytest.mark.parametrize(
    "head",
    [b"", b"\x08\0\x05\0CS", b"\xff" * 40, of_patient("1.2.3").data[:60], of_patient("no uid").data],
    ids=len,
)
def test_a_head_that_does_not_tell_leaves_the_study_unknown(head: bytes):
    notes = noting.begin()
    noting.note_instance(head, BY_UID[EXPLICIT_LE], "1.2")
    assert notes.studies == {}
