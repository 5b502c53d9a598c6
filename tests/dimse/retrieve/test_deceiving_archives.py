"""C-MOVE and C-GET from archives that send something else than they were asked for, or less than they say."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from bridge.archive.remote import RemoteArchive
from bridge.archive.retrieving import Objects
from bridge.settings import ArchiveSettings, RetrieveSettings
from service.dicom.part10 import file_head
from service.dicom.resource import InstanceKey
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE
from tests.dimse.retrieve.retrieving import Cut, Kept, Served, an_object, asked, moved
from tests.dimse.retrieve.test_troubles import a_series, stored

CT = [(CT_IMAGE, [EXPLICIT_LE])]
PLAIN = {"Content-Type": "application/dicom"}
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def deceive(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the archive answer a GET of each of the given ends of paths by something of its own."""

    def begin(answers: dict[str, Answer]) -> None:
        app = served.app

        async def deceiving(scope, receive, send):
            ends = [end for end in answers if scope.get("path", "").endswith(end)]
            if scope["type"] != "http" or not ends:
                await app(scope, receive, send)
                return
            status, headers, body = answers[ends[0]]
            told = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": told})
            await send({"type": "http.response.body", "body": body})

        monkeypatch.setattr(served, "app", deceiving)

    return begin


def multipart(*parts: tuple[bytes, dict[str, str]]) -> Answer:
    told = [{"Content-Type": "application/dicom", **headers} for _, headers in parts]
    heads = ["".join(f"{name}: {value}\r\n" for name, value in each.items()) for each in told]
    body = b"".join(
        b"--bnd\r\n" + head.encode() + b"\r\n" + part + b"\r\n"
        for (part, _), head in zip(parts, heads, strict=True)
    )
    return (
        200,
        {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd'},
        body + b"--bnd--",
    )


def named(one: Kept, other: Kept) -> bytes:
    """The data set of `other` under the name of `one`."""
    return file_head(one.sop_class, one.instance, one.syntax) + other.data


def what_each_is(objects: Sequence[Kept]) -> set[tuple[str, bytes]]:
    return {(one.instance, one.data) for one in objects}


@pytest.mark.parametrize("way", ["another", "renamed"])
@pytest.mark.parametrize("whole_bytes", [8 << 20, 100])
def test_another_instance_is_not_sent_under_the_name_of_the_one_that_was_asked(
    start, served, destination, deceive, way: str, whole_bytes: int
):
    objects = a_series(3)
    stored(served, objects)
    wrong = objects[2].part10 if way == "another" else named(objects[1], objects[2])
    deceive({objects[1].instance: (200, PLAIN, wrong)})
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=whole_bytes)

    answer = moved(bridge.port, asked("IMAGE", SOPInstanceUID=[one.instance for one in objects]))

    assert (answer.status, answer.counts) == (0xB000, (2, 1, 0))
    assert answer.failures == [objects[1].instance]
    assert {(one.instance, one.data) for one in dest.got} == what_each_is([objects[0], objects[2]])
    assert dest.associations == 1


def test_a_part_under_a_wrong_name_is_asked_for_alone(start, served, destination, deceive):
    objects = a_series(4)
    identifier = stored(served, objects)
    parts = [
        named(objects[0], objects[1]),
        named(objects[1], objects[0]),
        objects[2].part10,
        objects[2].part10,
    ]
    deceive({objects[0].series: multipart(*((part, {}) for part in parts))})
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (4, 0, 0))
    assert {(one.instance, one.data) for one in dest.got} == what_each_is(objects)
    assert len(dest.got) == 4


def test_a_file_that_does_not_name_its_instance_is_sent_all_the_same(start, served, destination, deceive):
    objects = a_series(2)
    stored(served, objects)
    nameless = file_head("1.2.3", "4.5.6", EXPLICIT_LE) + objects[0].data
    deceive({objects[0].instance: (200, PLAIN, nameless)})
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked("IMAGE", SOPInstanceUID=[one.instance for one in objects]))

    assert (answer.status, answer.counts) == (0x0000, (2, 0, 0))
    assert {(one.instance, one.data) for one in dest.got} == what_each_is(objects)


def test_a_part_shorter_than_it_says_is_asked_for_alone(start, served, destination, deceive):
    objects = a_series(3, 4000)
    identifier = stored(served, objects)
    parts = [(one.part10, {"Content-Length": str(len(one.part10))}) for one in objects]
    parts[1] = (parts[1][0][:-1000], parts[1][1])
    deceive({objects[0].series: multipart(*parts)})
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (3, 0, 0))
    assert {(one.instance, one.data) for one in dest.got} == what_each_is(objects)


@pytest.mark.parametrize("whole_bytes", [8 << 20, 100])
def test_a_range_that_nobody_asked_for_is_no_instance(start, served, destination, deceive, whole_bytes: int):
    one = an_object(4000)
    served.keep([one.part10])
    size = len(one.part10)
    ranged = {**PLAIN, "Content-Range": f"bytes 0-{size - 1001}/{size}"}
    deceive({one.instance: (206, ranged, one.part10[:-1000])})
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=whole_bytes)

    answer = moved(bridge.port, asked("IMAGE", SOPInstanceUID=one.instance))

    assert (answer.status, answer.counts) == (0xA702, (0, 1, 0))


def test_a_match_that_names_no_instance_is_a701(start, served, destination, deceive):
    one = an_object()
    row = b'{"00080018":{"vr":"UI","Value":["%s"]}}' % one.instance.encode()
    deceive({"/instances": (200, {"Content-Type": "application/dicom+json"}, b"[" + row + b"]")})
    dest = destination(CT)
    bridge = start(dest.peer())

    assert moved(bridge.port, asked("IMAGE", SOPInstanceUID=one.instance)).status == 0xA701


def test_an_instance_of_another_series_than_the_one_that_is_named_is_not_sent(start, served, destination):
    objects = [*a_series(1), *a_series(1)]
    served.keep(one.part10 for one in objects)
    dest = destination(CT)
    bridge = start(dest.peer())
    keys = {"SeriesInstanceUID": objects[0].series, "SOPInstanceUID": [one.instance for one in objects]}

    answer = moved(bridge.port, asked("IMAGE", **keys))

    assert (answer.status, answer.counts) == (0x0000, (1, 0, 0))
    assert [one.instance for one in dest.got] == [objects[0].instance]


def test_many_instances_in_a_row_that_break_off_do_not_cost_the_others(start, served, destination):
    objects = a_series(20, 5000)
    identifier = stored(served, objects)
    bad = [one.instance for one in objects[3:13]]
    served.trouble = lambda scope, number: (
        Cut(900) if scope["path"].endswith((*bad, objects[0].series)) else None
    )
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xB000, (10, 10, 0))
    assert sorted(answer.failures) == sorted(bad)


def test_an_instance_that_is_late_is_not_kept_from_its_turn_by_those_behind_it(
    start, served, destination, monkeypatch
):
    objects = a_series(8, 5000)
    stored(served, objects)
    app = served.app

    async def late(scope, receive, send):
        if scope.get("path", "").endswith((objects[0].instance, objects[5].instance)):
            await asyncio.sleep(0.3)  # the others are there by then
        await app(scope, receive, send)

    monkeypatch.setattr(served, "app", late)
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=8000, held_bytes=16000, ahead=1)

    answer = moved(bridge.port, asked("IMAGE", SOPInstanceUID=[one.instance for one in objects]))

    assert (answer.status, answer.counts) == (0x0000, (8, 0, 0))


def test_an_object_whose_end_cannot_be_told_is_asked_for_in_a_multipart():
    one = an_object(4000)
    accepted: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        accepted.append(next(line for line in head.split("\r\n") if line.startswith("Accept: ")))
        if accepted[-1].startswith("Accept: application/dicom;"):
            told, body = PLAIN, one.part10[:-1000]
        else:
            _, told, body = multipart((one.part10, {}))
        fields = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n".encode() + body)
        writer.close()

    async def fetch() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        archive = RemoteArchive(ArchiveSettings(url=f"http://127.0.0.1:{port}"))
        async with server:
            arrived = await Objects(archive, RetrieveSettings()).one(
                InstanceKey(one.study, one.series, one.instance), "*"
            )
            content = bytes(arrived.whole or b"")
            await arrived.close()
        await archive.close()
        return content

    assert asyncio.run(fetch()) == one.data
    assert len(accepted) == 2


def test_an_archive_that_is_started_again_is_waited_for(start, served, destination, ground):
    objects = a_series(40, 300_000)
    identifier = stored(served, objects)
    forwarder = ground.run(_forward(served.url))
    down = threading.Event()

    def status(dest, instance):
        if not down.is_set():
            down.set()
            ground.run(forwarder.stop())
            ground.loop.call_soon_threadsafe(ground.loop.call_later, 0.3, forwarder.start_soon)
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer(), url=f"http://127.0.0.1:{forwarder.port}/dicom-web", busy_delay_s=0.05)

    answer = moved(bridge.port, identifier)
    ground.run(forwarder.stop())

    assert (answer.status, answer.counts) == (0x0000, (40, 0, 0))
    assert len(dest.got) == 40


class _Forwarder:
    """What stands before an archive that comes and goes."""

    def __init__(self, to: int) -> None:
        self.port = unused_port()
        self._to = to
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def start_soon(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self.start())

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, to}
        await asyncio.gather(_pump(reader, to), _pump(there, writer), return_exceptions=True)
        self._writers -= {writer, to}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    finally:
        writer.transport.abort()


async def _forward(url: str) -> _Forwarder:
    forwarder = _Forwarder(int(url.split(":")[2].split("/")[0]))
    await forwarder.start()
    return forwarder
