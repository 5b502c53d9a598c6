"""STOW-RS into a PACS by C-STORE, the inbox, and the bounds of the cache."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from bridge import scu
from bridge.pacs.cache import Cache
from bridge.scu import Proposal
from service.dicom.resource import Resource
from service.settings import Settings
from tests.dimse.asking import PATIENT
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    PATIENCE_S,
    Archive,
    Ground,
    an_instance,
    serve_archive,
)
from tests.dimse.pacs.facing import Pacs, facing
from tests.making import a_data_set, a_file, add_pixels


def item(answer: object, sequence: str) -> dict[str, object]:
    return answer[sequence]["Value"][0]  # type: ignore[index,no-any-return]


def test_stored_is_what_the_pacs_has_answered_with_success(tmp_path: Path):
    pacs = Pacs()
    files = [a_file(a_data_set(study="1.2.3")) for _ in range(5)]
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.store(*files)

    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == len(pacs.stored) == 5


@pytest.mark.parametrize(
    ("status", "code", "sequence", "tag"),
    [
        (0xB007, 202, "00081199", "00081196"),
        (0x0111, 409, "00081198", "00081197"),
        (0xC123, 409, "00081198", "00081197"),
    ],
)
def test_the_status_of_the_pacs_is_the_reason(
    tmp_path: Path, status: int, code: int, sequence: str, tag: str
):
    pacs = Pacs(store_status=status)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.store(a_file(a_data_set()))

    assert answer.status_code == code
    assert item(answer.json(), sequence)[tag] == {"vr": "US", "Value": [status]}


def test_one_bad_object_fails_alone(tmp_path: Path):
    pacs = Pacs()
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.store(a_file(a_data_set()), b"no DICOM at all", a_file(a_data_set()))

    assert answer.status_code == 202
    assert len(pacs.stored) == 2


def test_a_class_that_the_pacs_does_not_take_is_refused(tmp_path: Path):
    pacs = Pacs()
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.store(a_file(a_data_set(sop_class="1.2.840.10008.5.1.4.1.1.88.11")))

    assert answer.status_code == 409
    assert item(answer.json(), "00081198")["00081197"] == {"vr": "US", "Value": [0x0122]}


def test_what_the_pacs_does_not_take_compressed_it_gets_uncompressed(tmp_path: Path):
    import imagecodecs
    import numpy

    pixels = numpy.arange(16, dtype="<u2").reshape(4, 4)
    codestream = imagecodecs.jpegls_encode(pixels)
    made = add_pixels(a_data_set(), [pixels.tobytes()])
    pacs = Pacs()
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.store(a_file(made, "1.2.840.10008.1.2.4.80", codestreams=[bytes(codestream)]))

    assert answer.status_code == 200
    assert pacs.stored[0].PixelData == pixels.tobytes()


def test_what_nobody_asked_for_goes_from_the_inbox_to_the_archive(tmp_path: Path, ground: Ground):
    archive = Archive()
    runner, url = ground.run(serve_archive(archive))
    assert isinstance(runner, web.AppRunner)
    instance = an_instance()

    async def store(port: int) -> int:
        from bridge.peers import Peer

        peer = Peer("inbox", "ISTHMUS_IN", "127.0.0.1", port)
        proposals = [Proposal(CT_IMAGE, (EXPLICIT_LE,))]
        association = await scu.connect(peer, proposals, PATIENT, calling="STRANGER")
        try:
            return await scu.store(
                association, 1, CT_IMAGE, instance.instance, instance.data, timeout_s=PATIENCE_S
            )
        finally:
            await association.release()

    with facing(unused_port(), tmp_path, archive_url=url) as face:
        status = ground.run(store(face.dimse_port))
    ground.run(runner.cleanup())

    assert status == 0
    assert len(archive.parts) == 1


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def a_cache(folder: Path, clock: Clock, most_bytes: int) -> Cache:
    return Cache(folder, most_bytes=most_bytes, most_age_s=3600.0, web=Settings(), clock=clock)


def studies_in(cache: Cache, studies: Sequence[str]) -> list[bool]:
    return [bool(cache.held(Resource(study))) for study in studies]


def an_object(study: str) -> bytes:
    return a_file(add_pixels(a_data_set(study=study), [bytes(20_000)], rows=100, columns=100))


def test_the_cache_lets_go_of_what_was_used_longest_ago(tmp_path: Path):
    clock = Clock()
    cache = a_cache(tmp_path, clock, 50_000)
    for study in ("1.1", "1.2", "1.3"):
        cache.put([[an_object(study)]], study)
        clock.at += 100
    for held in cache.held(Resource("1.1")):
        cache.use(held.key)
    clock.at += 70
    cache.use(cache.held(Resource("1.1"))[0].key)

    cache.make_room()

    assert studies_in(cache, ["1.1", "1.2", "1.3"]) == [True, False, True]
    assert cache.size_bytes < 50_000
    cache.close()


def test_the_cache_lets_go_of_what_nobody_reads(tmp_path: Path):
    clock = Clock()
    cache = a_cache(tmp_path, clock, 1 << 30)
    cache.put([[an_object("1.1")]], "1.1")
    clock.at += 4000

    cache.make_room()

    assert studies_in(cache, ["1.1"]) == [False]
    assert cache.size_bytes == 0
    cache.close()


def test_a_cache_of_another_boot_or_that_is_damaged_is_begun_anew(tmp_path: Path):
    clock = Clock()
    cache = a_cache(tmp_path / "c", clock, 1 << 30)
    cache.put([[an_object("1.1")]], "1.1")
    cache.close()
    again = a_cache(tmp_path / "c", clock, 1 << 30)
    kept, size = studies_in(again, ["1.1"]), again.size_bytes
    again.close()
    (tmp_path / "c" / "opened").write_text("another boot")

    anew = a_cache(tmp_path / "c", clock, 1 << 30)
    after = studies_in(anew, ["1.1"])
    anew.close()
    for path in (tmp_path / "c").glob("index.db*"):
        path.write_bytes(b"no database" * 1000)
    damaged = a_cache(tmp_path / "c", clock, 1 << 30)

    assert (kept, after, studies_in(damaged, ["1.1"])) == ([True], [False], [False])
    assert size > 20_000
    damaged.close()


def test_a_replaced_object_is_not_counted_for_ever(tmp_path: Path):
    clock = Clock()
    cache = a_cache(tmp_path, clock, 1 << 30)
    for number in range(3):
        made = a_data_set(study="1.1", series="1.1.1", instance="1.1.1.1", InstanceNumber=number)
        cache.put([[a_file(add_pixels(made, [bytes(20_000)], rows=100, columns=100))]], "1.1")
    clock.at += 4000

    cache.make_room()

    assert cache.size_bytes == 0
    cache.close()


def test_what_is_left_of_a_cache_that_was_being_removed_is_not_read(tmp_path: Path):
    clock = Clock()
    cache = a_cache(tmp_path / "c", clock, 1 << 30)
    cache.put([[an_object("1.1")]], "1.1")
    cache.close()
    (tmp_path / "c" / "opened").unlink()

    again = a_cache(tmp_path / "c", clock, 1 << 30)

    assert studies_in(again, ["1.1"]) == [False]
    again.close()
