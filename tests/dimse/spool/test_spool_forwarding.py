"""What is kept goes to the archive: in order within a study, gently, over restarts, and never not."""

import asyncio
import threading

import pytest
from aiohttp import web

from tests.dimse.dimse_peers import Archive, a_uid, an_instance
from tests.dimse.spool.conftest import StartSpooling
from tests.dimse.spool.spooling import Site, of_study, studies_of


def test_a_study_is_forwarded_in_the_order_in_which_it_came(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    studies = [a_uid() for _ in range(6)]
    sent = [of_study(study, size) for size in (3000, 1_500_000, 500, 90_000) for study in studies]

    assert set(bridge.send(*sent)) == {0}
    site.come()
    bridge.until_forwarded()

    for study in studies:
        came = [one for one in site.stored if studies_of([one]) == [study]]
        assert came == [one.data for one in sent if studies_of([one.data]) == [study]]


def test_an_instance_does_not_go_past_those_of_its_study(start: StartSpooling, site: Site, ground):
    bridge = start()
    study = a_uid()
    first, second, other = of_study(study), of_study(study), of_study(a_uid())
    gate = Gate(site.archive)
    site.archive.behaviours += [site.archive.answering(500), gate.behave]

    assert bridge.send(first) == [0]  # kept, and then held up at the gate
    site.archive.wait_for(lambda: len(site.archive.requests) == 2)
    bridge.spool.reach.because = ""  # as after an answer to another
    assert bridge.send(second, other) == [0, 0]
    assert site.stored == [other.data]
    assert len(bridge.files) == 2
    gate.open.set()
    bridge.until_forwarded()

    assert site.stored == [other.data, first.data, second.data]


def test_what_is_sent_while_the_archive_is_away_does_not_wait_for_it(start: StartSpooling, site: Site):
    bridge = start(pause_s=3600.0, longest_pause_s=3600.0)
    site.archive.behaviours.append(site.archive.answering(500))

    assert set(bridge.send(*(an_instance() for _ in range(10)))) == {0}

    assert len(site.archive.requests) == 1
    assert len(bridge.files) == 10


def test_a_direct_store_that_succeeds_wakes_the_forwarding(start: StartSpooling, site: Site):
    bridge = start(pause_s=3600.0, longest_pause_s=3600.0, size_bytes=2_200_000)
    site.leave()
    assert bridge.send(an_instance(), an_instance(1_200_000)) == [0, 0]
    site.come()

    # no room for another instance, so that this one is tried with the archive
    assert bridge.send(an_instance(1_500_000)) == [0]
    bridge.until_forwarded()

    assert len(site.stored) == 3


def test_what_is_kept_is_found_after_a_restart_in_its_order(start: StartSpooling, site: Site):
    site.leave()
    study = a_uid()
    sent = [of_study(study, 1000 * number) for number in range(8)]
    assert set(start().send(*sent)) == {0}

    bridge = start()
    assert len(bridge.spool.lanes) == 8
    assert bridge.spool.space.held_bytes == bridge.spool.lanes.bytes
    site.come()
    bridge.until_forwarded()

    assert site.stored == [one.data for one in sent]


def test_what_was_half_written_is_removed_at_the_start_and_strange_files_are_left_alone(
    start: StartSpooling, site: Site
):
    folder = start().settings.state / "spool"
    (folder / "7.part").write_bytes(b"half")
    (folder / "notes.txt").write_bytes(b"mine")
    (folder / "0000000000000000001_1.2_..dcm").mkdir()

    bridge = start()

    assert bridge.files == ["0000000000000000001_1.2_..dcm", "notes.txt"]
    assert len(bridge.spool.lanes) == 0
    (folder / "0000000000000000001_1.2_..dcm").rmdir()


@pytest.mark.parametrize("size_bytes", [2_000, 4_000_000])
def test_an_archive_that_is_lost_while_forwarding_gets_it_again(start: StartSpooling, site: Site, size_bytes):
    async def break_off(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    bridge = start()
    site.leave()
    instance = an_instance(size_bytes)
    assert bridge.send(instance) == [0]

    site.archive.behaviours += [break_off] * 6
    site.come()
    bridge.until_forwarded()

    assert site.stored == [instance.data]
    assert bridge.detained == []


def test_an_archive_that_does_not_answer_is_not_waited_for_by_the_modality(start: StartSpooling, site: Site):
    bridge = start(answer_s=0.2)
    gate = Gate(site.archive)
    site.archive.behaviours += [gate.behave]

    assert bridge.send(an_instance()) == [0]

    assert bridge.spool.spooled == 1
    gate.open.set()
    bridge.until_forwarded()


def test_a_file_that_somebody_removes_holds_nothing_up(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    study = a_uid()
    first, second = of_study(study), of_study(study)
    assert bridge.send(first, second) == [0, 0]
    bridge.between_trials((bridge.settings.state / "spool" / bridge.files[0]).unlink)

    site.come()
    bridge.until_forwarded()

    assert site.stored == [second.data]
    assert bridge.spool.space.held_bytes == 0


def test_a_file_that_cannot_be_read_for_a_while_is_not_taken_for_a_refusal(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    instance = an_instance()
    assert bridge.send(instance) == [0]
    file = bridge.settings.state / "spool" / bridge.files[0]

    def fail() -> None:
        file.rename(file.with_suffix(".away"))
        file.mkdir()

    def mend() -> None:
        file.rmdir()
        file.with_suffix(".away").rename(file)

    bridge.between_trials(fail)
    site.come()
    bridge.until(lambda: "disk" in bridge.spool.reach.because)
    assert bridge.detained == []

    bridge.between_trials(mend)
    bridge.until_forwarded()

    assert site.stored == [instance.data]


def test_a_file_that_cannot_be_deleted_is_not_sent_again_and_again(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    assert bridge.send(an_instance()) == [0]
    gate = Gate(site.archive)
    site.archive.behaviours.append(gate.behave)
    site.come()
    site.archive.wait_for(lambda: site.archive.requests)
    file = bridge.settings.state / "spool" / bridge.files[0]
    file.unlink()
    file.mkdir()

    gate.open.set()
    bridge.until_forwarded()

    assert len(site.stored) == 1
    assert bridge.spool.reach.is_up
    file.rmdir()


def test_a_bridge_that_is_ended_while_forwarding_keeps_what_is_under_way(start: StartSpooling, site: Site):
    bridge = start()
    gate = Gate(site.archive)
    instance = an_instance(2_000_000)
    site.leave()
    assert bridge.send(instance) == [0]
    site.archive.behaviours.append(gate.behave)
    site.come()
    site.archive.wait_for(lambda: site.archive.requests)

    start()
    gate.open.set()
    site.archive.wait_for(lambda: site.stored)

    assert set(site.stored) == {instance.data}


def test_only_some_studies_are_sent_at_a_time(start: StartSpooling, site: Site):
    bridge = start(studies=2)
    site.leave()
    assert set(bridge.send(*(an_instance() for _ in range(12)))) == {0}
    crowd = Crowd(site.archive)
    site.archive.behaviours += [crowd.behave] * 12

    site.come()
    bridge.until_forwarded()

    assert len(site.stored) == 12
    assert 1 <= crowd.most <= 2


class Gate:
    """An archive that takes an instance when it is let."""

    def __init__(self, archive: Archive) -> None:
        self.open = threading.Event()
        self._archive = archive

    async def behave(self, request: web.Request) -> web.StreamResponse:
        while not self.open.is_set():
            await asyncio.sleep(0.005)
        return await self._archive.store(request)


class Crowd:
    """An archive that counts who is there at the same time."""

    def __init__(self, archive: Archive) -> None:
        self.most = 0
        self._inside = 0
        self._archive = archive

    async def behave(self, request: web.Request) -> web.StreamResponse:
        self._inside += 1
        self.most = max(self.most, self._inside)
        await asyncio.sleep(0)
        try:
            return await self._archive.store(request)
        finally:
            self._inside -= 1
