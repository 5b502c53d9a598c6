"""What the archive refuses after it was acknowledged: kept, told, exported, tried again, deleted."""

import json
import re
import time
from typing import Any

import pytest
import yaml
from aiohttp import web

from bridge.settings import BridgeSettings
from bridge.spool.spool import State
from openapi.__main__ import BRIDGE_SOURCE
from service.audit import codes
from service.audit.trail import Trail
from tests.audit_events import Heard
from tests.dimse.control.controlled import asked
from tests.dimse.dimse_peers import PATIENCE_S, Archive, a_uid, an_instance, data_set_of
from tests.dimse.spool.conftest import StartSpooling
from tests.dimse.spool.spooling import Site, Spooling, of_study


def refused(
    start: StartSpooling, site: Site, count: int = 1, failure: int = 0xC000, **given: Any
) -> Spooling:
    """A bridge with instances in quarantine."""
    bridge = start(**given)
    site.leave()
    assert set(bridge.send(*(of_study("1.2.3", 2000) for _ in range(count)))) == {0}
    site.archive.behaviours += [site.archive.answering(409, failure=failure)] * count
    site.come()
    bridge.until_forwarded()
    return bridge


def test_what_the_archive_refuses_later_is_listed_with_its_reason_and_without_the_patient(
    start: StartSpooling, site: Site
):
    bridge = refused(start, site, failure=0x0111)

    (told,) = bridge.ask("/quarantine").json

    assert (told["study"], told["http"], told["status"]) == ("1.2.3", 409, "0111")
    assert set(told) == {"id", "study", "instance", "bytes", "received", "refused", "http", "status"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["received"])
    assert bridge.ask("/spool").json["quarantine"] == {"instances": 1, "bytes": told["bytes"]}
    assert bridge.ask("/readyz").json["because"] == "1 instances are in quarantine."


def test_it_can_be_had_as_a_file(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    instance = an_instance(700_000)
    assert bridge.send(instance) == [0]
    site.archive.behaviours += [site.archive.answering(409, failure=0xC000)]
    site.come()
    bridge.until_forwarded()
    (told,) = bridge.ask("/quarantine").json

    answer = bridge.ask(f"/quarantine/{told['id']}")

    assert answer.headers["Content-Type"] == "application/dicom"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{instance.instance}.dcm"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert data_set_of(answer.body) == instance.data
    head = bridge.ask(f"/quarantine/{told['id']}", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_the_answers_are_as_they_are_described(start: StartSpooling, site: Site):
    schemas = yaml.safe_load(BRIDGE_SOURCE.read_text())["components"]["schemas"]
    bridge = refused(start, site)

    (held,) = bridge.ask("/quarantine").json

    assert set(held) == set(schemas["Detained"]["properties"]) == set(schemas["Detained"]["required"])
    told = bridge.ask("/spool").json
    assert set(told) == set(schemas["Spool"]["properties"]) == set(schemas["Spool"]["required"])
    assert schemas["Spool"]["properties"]["state"]["enum"] == [str(state) for state in State]


def test_a_file_that_somebody_removes_is_not_found_and_can_be_forgotten(start: StartSpooling, site: Site):
    bridge = refused(start, site)
    (told,) = bridge.ask("/quarantine").json
    (bridge.settings.state / "quarantine" / bridge.detained[0]).unlink()

    assert bridge.ask(f"/quarantine/{told['id']}").status == 404
    assert bridge.ask(f"/quarantine/{told['id']}/retry", "POST").status == 503
    assert bridge.ask(f"/quarantine/{told['id']}", "DELETE").status == 204
    assert bridge.ask("/quarantine").json == []


def test_it_can_be_tried_again(start: StartSpooling, site: Site):
    bridge = refused(start, site, count=2)
    first, second = (one["id"] for one in bridge.ask("/quarantine").json)

    assert bridge.ask(f"/quarantine/{first}/retry", "POST").status == 202
    bridge.until_forwarded()

    assert [one["id"] for one in bridge.ask("/quarantine").json] == [second]
    assert len(site.stored) == 1
    assert bridge.spool.space.held_bytes == bridge.spool.quarantine.bytes


def test_what_is_refused_again_is_in_quarantine_again(start: StartSpooling, site: Site):
    bridge = refused(start, site)
    (before,) = bridge.ask("/quarantine").json
    site.archive.behaviours.append(site.archive.answering(409, failure=0x0122))

    assert bridge.ask(f"/quarantine/{before['id']}/retry", "POST").status == 202
    bridge.until(lambda: len(bridge.spool.quarantine) == 1)

    (after,) = bridge.ask("/quarantine").json
    assert (after["id"], after["status"]) == (before["id"], "0122")


def test_the_audit_trail_is_told_who_had_it_tried_again_and_deleted_it(start: StartSpooling, site: Site):
    sink = Heard()
    trail = Trail(sink)
    bridge = refused(start, site, count=2, trail=trail)
    first, second = (told["id"] for told in bridge.ask("/quarantine").json)

    answers = [
        bridge.ask(f"/quarantine/{first}"),
        bridge.ask(f"/quarantine/{first}", "DELETE"),
        bridge.ask(f"/quarantine/{second}/retry", "POST"),
    ]
    bridge.until(lambda: len(sink.events) >= 3)  # each is told when it has been answered
    trail.close(PATIENCE_S)

    assert [one.status for one in answers] == [200, 204, 202]
    told = [(one.what, one.action, one.details["Transaction"], [*one.studies]) for one in sink.events]
    assert told == [
        (codes.INSTANCES_TRANSFERRED, codes.READ, "ExportQuarantined", ["1.2.3"]),
        (codes.INSTANCES_ACCESSED, codes.DELETE, "DeleteQuarantined", ["1.2.3"]),
        (codes.BEGIN_TRANSFERRING, codes.EXECUTE, "RetryQuarantined", ["1.2.3"]),
    ]


def test_it_can_be_deleted(start: StartSpooling, site: Site):
    bridge = refused(start, site)
    (told,) = bridge.ask("/quarantine").json

    assert bridge.ask(f"/quarantine/{told['id']}", "DELETE").status == 204

    assert bridge.detained == []
    assert bridge.ask("/quarantine").json == []
    assert bridge.spool.space.held_bytes == 0
    assert bridge.ask(f"/quarantine/{told['id']}", "DELETE").status == 404


def test_the_audit_trail_is_told_of_a_page_of_somebody_else(start: StartSpooling):
    sink = Heard()
    trail = Trail(sink)
    bridge = start(trail=trail)
    url = f"http://127.0.0.1:{bridge.server.address[1]}/quarantine/1/retry"

    assert asked(url, "POST", headers={"Origin": "https://somebody.example"}).status == 403
    bridge.until(lambda: sink.events)
    trail.close(PATIENCE_S)

    assert [(one.what, one.types) for one in sink.events] == [
        (codes.SECURITY_ALERT, (codes.RESTRICTED_FUNCTION,))
    ]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
@pytest.mark.parametrize("path", ["/quarantine/7", "/quarantine/..%2F..", "/quarantine/%00"])
def test_what_is_not_there_is_not_found(start: StartSpooling, method, path):
    answer = start().ask(path + ("/retry" if method == "POST" else ""), method)

    assert answer.status == 404
    assert json.loads(answer.body)["status"] == 404


def test_it_outlasts_the_program_in_the_order_of_the_refusals(start: StartSpooling, site: Site):
    before = refused(start, site, count=3).ask("/quarantine").json

    bridge = start()

    assert bridge.ask("/quarantine").json == before
    assert bridge.spool.space.held_bytes == bridge.spool.quarantine.bytes == sum(x["bytes"] for x in before)


@pytest.mark.parametrize(("limit", "status"), [("1", 200), ("0", 400), ("1001", 400), ("x", 400)])
def test_a_listing_is_bounded(start: StartSpooling, site: Site, limit, status):
    bridge = refused(start, site, count=2)

    answer = bridge.ask(f"/quarantine?limit={limit}")

    assert answer.status == status
    assert status != 200 or len(answer.json) == 1


def test_the_quarantine_counts_to_the_limit_of_the_spool(start: StartSpooling, site: Site):
    bridge = start(size_bytes=2_500_000)
    site.leave()
    study = a_uid()
    assert bridge.send(of_study(study, 1_200_000), of_study(study, 1_200_000)) == [0, 0]
    site.archive.behaviours += [site.archive.answering(409, failure=0xC000)] * 2
    site.come()
    bridge.until_forwarded()
    site.leave()

    assert bridge.send(of_study(study, 1_200_000)) == [0xA700]


class Picky:
    """An archive that fails with one instance, in its own way, and takes all others."""

    def __init__(self, archive: Archive, poison: bytes, status: int) -> None:
        self._archive = archive
        self._poison = poison
        self._status = status

    async def behave(self, request: web.Request) -> web.StreamResponse:
        self._archive.behaviours.append(self.behave)
        answer = await self._archive.store(request)
        if data_set_of(self._archive.parts[-1]) != self._poison:
            return answer
        self._archive.parts.pop()
        if self._status:
            return web.Response(status=self._status)
        assert request.transport is not None
        request.transport.abort()
        return answer


@pytest.mark.parametrize("status", [500, 502, 0])
def test_an_instance_with_which_the_archive_always_fails_holds_up_nobody(
    start: StartSpooling, site: Site, status
):
    bridge = start(strikes=2)
    site.leave()
    poison = of_study("1.2.3", 3000)
    sound = [of_study("1.2.3", 1000) for _ in range(4)] + [of_study(a_uid(), 1000) for _ in range(4)]
    assert set(bridge.send(poison, *sound)) == {0}

    site.archive.behaviours.append(Picky(site.archive, poison.data, status).behave)
    site.come()
    bridge.until(lambda: bridge.spool.forwarded == 8)
    # then: while others are taken it is tried some times more, and set aside
    until = time.monotonic() + PATIENCE_S
    while not bridge.spool.detained and time.monotonic() < until:
        assert bridge.send(of_study(a_uid(), 100)) == [0]
    bridge.until_forwarded()

    (told,) = bridge.ask("/quarantine").json
    assert told["http"] == (status or None)
    assert sorted(one for one in site.stored if len(one) > 1000) == sorted(one.data for one in sound)


def test_an_instance_that_is_alone_with_a_failing_archive_is_tried_for_ever(start: StartSpooling, site: Site):
    bridge = start(strikes=2)
    site.archive.behaviours += [site.archive.answering(500)] * 30
    instance = an_instance()

    assert bridge.send(instance) == [0]
    bridge.until_forwarded()

    assert site.stored == [instance.data]
    assert len(site.archive.requests) > 30


def test_a_spool_tells_how_it_is(start: StartSpooling, site: Site):
    bridge, begun = start(), time.time()
    assert bridge.ask("/spool").json == {
        "enabled": True,
        "state": "empty",
        "because": "",
        "instances": 0,
        "studies": 0,
        "bytes": 0,
        "oldest": None,
        "limit_bytes": 1 << 30,
        "held_bytes": 0,
        "quarantine": {"instances": 0, "bytes": 0},
    }
    site.leave()
    assert bridge.send(of_study("1.2"), of_study("1.2"), of_study("1.3")) == [0, 0, 0]

    told = bridge.ask("/spool").json

    assert (told["state"], told["instances"], told["studies"]) == ("waiting", 3, 2)
    assert told["because"] == "it cannot be reached"
    ready = bridge.ask("/readyz")
    assert ready.status == 200
    assert "3 instances wait for the archive: it cannot be reached." in ready.json["because"]
    numbers = bridge.ask("/metrics").body.decode()
    assert 'isthmus_bridge_spool_instances{place="spool"} 3' in numbers
    assert 'isthmus_bridge_spool_instances_total{event="kept"} 3' in numbers
    assert f'isthmus_bridge_spool_bytes{{place="spool"}} {told["bytes"]}' in numbers
    oldest = re.search(r"^isthmus_bridge_spool_oldest_seconds (\S+)$", numbers, re.MULTILINE)
    assert oldest is not None
    assert 0.0 < float(oldest[1]) <= time.time() - begun


def test_without_a_spool_a_bridge_whose_archive_is_away_is_not_ready(start: StartSpooling, site: Site):
    bridge = start(size_bytes=0)
    site.leave()

    assert bridge.ask("/readyz").status == 503


def test_a_login_that_is_no_good_is_said(start: StartSpooling, site: Site):
    bridge = start(pause_s=3600.0, longest_pause_s=3600.0)
    site.archive.behaviours.append(site.archive.answering(401))

    assert bridge.send(an_instance()) == [0]

    assert "ISTHMUS_ARCHIVE_TOKEN_FILE" in bridge.ask("/readyz").json["because"]
    assert "ISTHMUS_ARCHIVE_TOKEN_FILE" in bridge.ask("/spool").json["because"]


def test_the_spool_is_off_where_nothing_is_said():
    assert BridgeSettings().spool.size_bytes == 0
