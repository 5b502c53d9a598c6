"""What the bridge counts, and the ids by which both programs speak of one message."""

import logging
import re

import pytest

from bridge import measures, statuses
from bridge.journal import log as association_log
from bridge.measures import Measures, operation_name, result_name, status_name
from bridge.tracing import Traced, enter
from bridge.upper.command import Operation
from tests.dimse.dimse_peers import (
    IMPLICIT_LE,
    VERIFICATION,
    Archive,
    Bridge,
    RawPeer,
    a_context,
    a_store,
    an_echo,
    an_instance,
)

LINE = re.compile(r'([a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) (\S+)')


def numbers(bridge: Bridge) -> dict[str, float]:
    lines = bridge.listener.measures.text().decode().splitlines()
    found = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    return {match[1]: float(match[2]) for match in found if match is not None}


def test_operations_are_counted_by_status(bridge: Bridge, archive: Archive):
    first, second = an_instance(5_000), an_instance(5_000)
    archive.behaviours = [archive.store, archive.answering(409, failure=0xC0FE)]
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, VERIFICATION, IMPLICIT_LE))
        for instance in (first, second):
            peer.send(b"".join(a_store(instance)))
            peer.response()
        peer.send(an_echo(3))
        peer.response()
        # then: an association that is open is counted as it goes
        counted = numbers(bridge)
        assert counted["isthmus_dimse_associations_open"] == 1
    bridge.report()
    counted = numbers(bridge)
    assert counted['isthmus_dimse_operations_total{operation="C-STORE",status="0000"}'] == 1
    # a status that only the archive knows makes no label of its own
    assert counted['isthmus_dimse_operations_total{operation="C-STORE",status="Cxxx"}'] == 1
    assert counted['isthmus_dimse_operations_total{operation="C-ECHO",status="0000"}'] == 1
    assert counted['isthmus_dimse_operation_seconds_count{operation="C-STORE"}'] == 2
    assert counted["isthmus_dimse_received_bytes_total"] == len(first.data) + len(second.data)
    assert counted["isthmus_dimse_sent_bytes_total"] > 0
    assert counted["isthmus_dimse_objects_total"] == 1
    assert counted["isthmus_dimse_associations_open"] == 0
    assert counted['isthmus_dimse_associations_ended_total{result="lost"}'] == 1


def test_connections_that_never_associate_are_counted_too(bridge: Bridge):
    with RawPeer(bridge.address) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        peer.wait_closed()
    bridge.report()
    counted = numbers(bridge)
    ended = {name: count for name, count in counted.items() if "ended_total" in name}
    assert sum(ended.values()) == 1
    assert counted["isthmus_dimse_associations_open"] == 0


def test_labels_are_few_whatever_peers_and_archives_say():
    assert {operation_name(field) for field in range(0x10000)} == {
        *(one.name.replace("_", "-") for one in Operation),
        measures.OTHER,
    }
    assert len({status_name(status) for status in range(0x10000)}) < 60
    assert status_name(statuses.SUCCESS) == "0000"
    assert result_name("rejected 1/1/7") == "rejected"
    assert result_name("aborted: length of 4294967295") == "aborted"
    assert result_name("Doe^Jane") == "other"


def test_a_bridge_that_has_done_nothing_tells_so():
    assert b"isthmus_dimse_associations_open 0" in Measures().text()


def test_each_message_has_an_id_that_the_archive_is_told(bridge: Bridge, archive: Archive):
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        for _ in range(2):
            peer.send(b"".join(a_store(an_instance())))
            peer.response()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1))
        peer.send(b"".join(a_store(an_instance())))
        peer.response()
    ids = [request["X-Request-ID"] for request in archive.requests]
    first, second, third = (identity.split(".") for identity in ids)
    assert first[0] == second[0] != third[0]
    assert [first[1], second[1], third[1]] == ["1", "2", "1"]
    assert all(re.fullmatch(r"[0-9a-f]{12}\.[0-9]+", identity) for identity in ids)


@pytest.mark.parametrize(("name", "line"), [("4f2a.1", "id=4f2a.1 stored n=7"), ("", "stored n=7")])
def test_log_lines_begin_with_the_id_of_what_is_being_done(name, line):
    record = logging.LogRecord("isthmus", logging.INFO, __file__, 1, "stored n=%d", (7,), None)
    enter(name)
    try:
        assert Traced().filter(record)
    finally:
        enter("")
    assert record.getMessage() == line


def test_the_line_of_an_association_has_its_id(start_bridge, caplog, archive: Archive):
    marked = Traced()
    caplog.handler.addFilter(marked)
    bridge = start_bridge()
    reported = bridge.listener._report
    bridge.listener._report = lambda report: (report.log(), reported(report))
    with caplog.at_level(logging.INFO, logger=association_log.name):
        with RawPeer(bridge.address) as peer:
            peer.associate(a_context(1))
            peer.send(b"".join(a_store(an_instance())))
            peer.response()
        bridge.report()
    caplog.handler.removeFilter(marked)
    (line,) = (record.getMessage() for record in caplog.records if "association peer=" in record.getMessage())
    told = archive.requests[0]["X-Request-ID"].partition(".")[0]
    assert line.startswith(f"id={told} association peer=")
