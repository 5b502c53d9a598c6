"""C-STORE: what a peer sends reaches the archive byte for byte, and the archive's word comes back."""

import struct

import pytest

from bridge.upper import pdu
from bridge.upper.associate import UserInformation
from bridge.upper.command import Operation, Tag
from service.dicom.part10 import file_head
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    IMPLICIT_LE,
    VERIFICATION,
    Archive,
    Bridge,
    Instance,
    RawPeer,
    a_command,
    a_context,
    a_store,
    an_echo,
    an_instance,
    data_set_of,
    p_data,
    still_serves,
)


def stored_with_status(bridge: Bridge, *pdus: bytes, context=None) -> int:
    """Send one message, expect one response, and an association that goes on; the status."""
    with RawPeer(bridge.address) as peer:
        peer.associate(context or a_context(1), a_context(3, VERIFICATION, IMPLICIT_LE))
        peer.send(b"".join(pdus))
        status = peer.response().status
        peer.send(an_echo(3))
        assert peer.response().status == 0x0000
    return status


@pytest.mark.parametrize("size_bytes", [0, 10, 2_000, 527_000, 3_000_001])
def test_a_data_set_arrives_byte_for_byte(bridge: Bridge, archive: Archive, size_bytes: int):
    instance = an_instance(size_bytes)

    status = stored_with_status(bridge, *a_store(instance))

    assert status == 0x0000
    assert [data_set_of(part) == instance.data for part in archive.parts] == [True]


def test_the_file_meta_comes_from_command_and_context(bridge: Bridge, archive: Archive):
    instance = an_instance()

    stored_with_status(bridge, *a_store(instance))

    head = file_head(instance.sop_class, instance.instance, "1.2.840.10008.1.2.1", source_ae_title="RAW-SCU")
    assert archive.parts[0].startswith(head)


def test_instances_of_one_association_come_over_one_kept_connection(bridge: Bridge, archive: Archive):
    sent = [an_instance(1000 * number) for number in range(5)]

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        for instance in sent:
            peer.send(b"".join(a_store(instance)))
            assert peer.response().status == 0x0000

    assert [data_set_of(part) for part in archive.parts] == [instance.data for instance in sent]
    assert len(archive.connections) == 1


def test_messages_sent_without_waiting_are_answered_in_order(bridge: Bridge, archive: Archive):
    sent = [an_instance(5000) for _ in range(8)]

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        for number, instance in enumerate(sent):
            peer.send(b"".join(a_store(instance, message_id=number)))
        answered = [peer.response() for _ in sent]

    assert [response.number(Tag.RESPONDED_MESSAGE_ID) for response in answered] == list(range(8))
    assert [data_set_of(part) for part in archive.parts] == [instance.data for instance in sent]


def test_values_may_be_cut_anywhere(bridge: Bridge, archive: Archive):
    instance = an_instance(300)
    command, *_ = a_store(instance)
    values = [
        p_data(1, instance.data[at : at + 7], command=False, last=at + 7 >= len(instance.data))[6:]
        for at in range(0, len(instance.data), 7)
    ]
    empty = p_data(1, b"", command=False, last=False)[6:]
    several = b"".join([empty, *values[:-1], empty, values[-1]])

    status = stored_with_status(bridge, command, struct.pack(">BxI", pdu.Kind.P_DATA, len(several)), several)

    assert status == 0x0000
    assert data_set_of(archive.parts[0]) == instance.data


@pytest.mark.parametrize(
    ("http", "reason", "status"),
    [
        (200, {}, 0x0000),
        (200, {"warning": 0xB000}, 0xB000),
        (202, {"warning": 0xB006}, 0xB006),
        (202, {"warning": 0xB007}, 0xB007),
        (202, {"failure": 0xC000}, 0xC000),
        (409, {"failure": 0x0111}, 0x0111),
        (409, {"failure": 0xA900}, 0xA900),
        (409, {"failure": 0xC122}, 0xC122),
        (409, {"failure": 0xB00E}, 0x0111),
        (409, {"failure": 0}, 0x0110),
        (409, {}, 0x0110),
        (413, {}, 0xA700),
        (401, {}, 0x0124),
        (403, {}, 0x0124),
        (400, {}, 0x0110),
        (404, {}, 0x0110),
        (500, {}, 0x0110),
        (502, {}, 0xA700),
    ],
)
def test_the_archives_word_becomes_the_status(bridge: Bridge, archive: Archive, http, reason, status):
    archive.behaviours = [archive.answering(http, **reason)]

    assert stored_with_status(bridge, *a_store(an_instance())) == status


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"affected_sop_class": ""}, 0xA900),
        ({"affected_sop_class": "CT"}, 0xA900),
        ({"affected_sop_class": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"affected_sop_instance": ""}, 0xA900),
        ({"affected_sop_instance": "1.2.3"}, 0xA900),
        ({"affected_sop_instance": "1.2.x"}, 0x0117),
        ({"affected_sop_instance": "1" * 65}, 0x0117),
    ],
)
def test_a_command_that_names_another_object_is_refused(bridge: Bridge, archive: Archive, told, status):
    instance = an_instance(400_000)

    assert stored_with_status(bridge, *a_store(instance, **told)) == status

    assert archive.requests == []
    assert bridge.report().objects == 0


def test_a_data_set_without_its_uids_is_refused(bridge: Bridge, archive: Archive):
    whole = an_instance()
    beheaded = Instance(whole.sop_class, whole.instance, whole.data[whole.data.index(b"\x20\x00\x0d\x00") :])

    assert stored_with_status(bridge, *a_store(beheaded)) == 0xA900

    assert archive.requests == []


def test_a_store_without_a_data_set_is_refused(bridge: Bridge):
    command = a_command(
        Operation.C_STORE, has_data=False, affected_sop_class=CT_IMAGE, affected_sop_instance="1.2.3"
    )

    assert stored_with_status(bridge, p_data(1, command, command=True)) == 0x0212


def test_a_store_on_a_verification_context_is_refused(bridge: Bridge):
    instance = an_instance()

    assert stored_with_status(bridge, *a_store(instance, 3)) == 0x0122


def test_a_store_on_a_class_negotiated_as_storage_is_taken(bridge: Bridge, archive: Archive):
    worklist = "1.2.840.10008.5.1.4.31"
    user = UserInformation(max_length=16384, service_classes=((worklist, "1.2.840.10008.4.2"),))
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, worklist), user=user)
        peer.send(b"".join(a_store(an_instance(sop_class=worklist))))

        assert peer.response().status == 0x0000
    assert len(archive.parts) == 1


@pytest.mark.parametrize("operation", [Operation.C_FIND, Operation.C_MOVE, Operation.N_ACTION, 0x0666])
def test_an_operation_that_is_not_served_is_unrecognized(bridge: Bridge, operation: int):
    command = p_data(1, a_command(operation, has_data=True, affected_sop_class=CT_IMAGE), command=True)

    assert stored_with_status(bridge, command, p_data(1, b"x" * 500_000, command=False)) == 0x0211


def test_a_response_that_nobody_waits_for_is_passed_over(bridge: Bridge):
    stray = p_data(1, a_command(0x8001, has_data=False, status=0), command=True)
    cancel = p_data(1, a_command(Operation.C_CANCEL, has_data=False), command=True)

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, VERIFICATION, IMPLICIT_LE))
        peer.send(stray + cancel + an_echo(3))

        assert peer.response().field == 0x8030


def test_an_association_cut_at_any_pdu_leaves_nothing_behind(bridge: Bridge, archive: Archive):
    instance = an_instance(120_000)
    pdus = a_store(instance)
    stream = b"".join(pdus)
    ends = [sum(map(len, pdus[:count])) for count in range(1, len(pdus))]
    cuts = sorted({cut for end in ends for cut in (end - 9, end, end + 3)})

    for cut in cuts:
        with RawPeer(bridge.address) as peer:
            peer.associate(a_context())
            peer.send(stream[:cut])
            if cut in ends:
                peer.send(pdu.abort(by_provider=False))
        assert bridge.report().result == ("aborted by peer" if cut in ends else "lost")

    archive.wait_for(lambda: archive.broken == len(archive.requests))
    assert archive.parts == []
    assert still_serves(bridge)
    assert bridge.report().calling == "WATCHER"
    assert bridge.listener.associations == 0


def test_the_report_counts_objects_and_bytes(bridge: Bridge):
    sent = [an_instance(3000), an_instance(4000)]

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, "1.2.840.10008.5.1.4.1.2.2.1"))
        for instance in sent:
            peer.send(b"".join(a_store(instance)))
            peer.response()
        peer.send(pdu.release_rq())
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RP

    report = bridge.report()
    assert (report.calling, report.called, report.contexts) == ("RAW-SCU", "ANY-SCP", 1)
    assert (report.objects, report.size_bytes) == (2, sum(len(instance.data) for instance in sent))
    assert report.result == "released"
