"""Builders of records, and the indexes that every test of the contract runs against."""

import contextlib
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.dicom.describing import describe
from service.dicom.frames import Extent, FrameTable, PixelPlace, PixelShape
from service.dicom.record import InstanceRecord
from service.dicom.resource import InstanceKey
from service.index.memory import MemoryIndex
from service.index.port import FullIndex
from service.index.postgres import PostgresIndex
from service.index.sqlite import SqliteIndex
from tests.databases import Line, NoServer, Server, a_schema, emptied, own_server

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

_TAGS = {
    "CS": "00080008 00080060 00100040 00180015 00185100 00200060 00700080",
    "UI": "00080016 00080018 0020000D 0020000E 00200052",
    "DA": "00080020 00080021 00080023 00100030 00400244",
    "DT": "0008002A",
    "TM": "00080030 00080031 00080033 00400245",
    "SH": "00080050 00080100 00080102 00080201 00081010 00200010 00400009 00400253 00401001",
    "LO": "00080070 00080080 00080104 00081030 0008103E 00081040 00081090 00100020 00100021 00181030",
    "PN": "00080090 00081050 00100010",
    "LT": "00104000",
    "DS": "00180050",
    "IS": "00200011 00200013 00280008",
    "US": "00280010 00280011 00280100",
    "SQ": "00400275 0040A043",
}
VRS = {tag: vr for vr, tags in _TAGS.items() for tag in tags.split()}


def element(tag: str, value: Any) -> dict[str, Any]:
    """A DICOM JSON attribute: of a list its values, of anything else one value, of `None` no value."""
    vr = VRS[tag]
    if value is None:
        return {"vr": vr}
    values = value if isinstance(value, list) else [value]
    if vr == "PN":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        values = [
            {g: t for g, t in zip(groups, str(v).split("="), strict=False) if t} if isinstance(v, str) else v
            for v in values
        ]
    if vr == "SQ":
        values = [{t: element(t, v) for t, v in item.items()} for item in values]
    return {"vr": vr, "Value": values}


def a_record(
    study: str = "1.1",
    series: str | None = None,
    instance: str | None = None,
    *,
    content: bytes = b"content",
    upload: str = "",
    sop_class: str = CT,
    syntax: str = EXPLICIT,
    frames: list[int] | None = None,
    findings: tuple[str, ...] = (),
    **attributes: Any,
) -> InstanceRecord:
    """A record as ingest makes it; `attributes` are values by tag, written `x00100010="Doe^Jane"`."""
    key = InstanceKey(study, series or f"{study}.1", instance or f"{series or f'{study}.1'}.1")
    given = {tag.removeprefix("x"): value for tag, value in attributes.items()} | {
        "00080016": sop_class,
        "00080018": key.instance,
        "0020000D": key.study,
        "0020000E": key.series,
    }
    members = {
        int(tag, 16): b'"%s":%s' % (tag.encode(), orjson.dumps(element(tag, value)))
        for tag, value in given.items()
    }
    members[0x00083002] = b'"00083002":{"vr":"UI","Value":[\x01]}'
    members[0x7FE00010] = (
        b'"7FE00010":{"vr":"OW","BulkDataURI":"\x00%s/bulkdata/7FE00010"}' % key.path.encode()
    )
    encapsulated = frames is not None
    return InstanceRecord(
        key=key,
        sop_class=sop_class,
        syntax=syntax,
        object_key=f"studies/{key.study}/{key.series}/{key.instance}.{upload or content.hex()}.dcm",
        place="file:///objects",
        size=1000,
        digest=hashlib.sha256(content).digest(),
        shape=PixelShape(512, 256, 1, 16, len(frames) - 1 if frames else 1, "MONOCHROME2", 12, 11, True, 0),
        pixels=PixelPlace(0x7FE00010, "OB" if encapsulated else "OW", Extent(700, 300), encapsulated),
        frames=None if frames is None else FrameTable(frames),
        description=describe(members),
        json=b"{%s}" % b",".join(members[tag] for tag in sorted(members)),
        findings=findings,
    )


@pytest.fixture(name="a_record", scope="session")
def _a_record() -> Callable[..., InstanceRecord]:
    return a_record


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The URL of a PostgreSQL database: the one that ISTHMUS_TEST_DATABASE_URL names, or one of our own."""
    given = os.environ.get("ISTHMUS_TEST_DATABASE_URL", "")
    if given:
        yield given
        return
    try:
        with own_server() as server:
            yield server.url
    except NoServer as reason:
        _untested.append(str(reason))
        pytest.skip(str(reason))


_untested: list[str] = []


@pytest.fixture
def pods(postgres_url: str) -> Iterator[list[PostgresIndex]]:
    """Two pods on one database."""
    opened = [PostgresIndex(postgres_url), PostgresIndex(postgres_url)]
    yield opened
    for pod in opened:
        pod.close()


@pytest.fixture
def pod(pods: list[PostgresIndex]) -> PostgresIndex:
    return pods[0]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that may be stopped."""
    try:
        with own_server() as own:
            yield own
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    """A way to a server that may break."""
    made = Line(server)
    yield made
    made.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _untested[:1]:
        terminalreporter.section("PostgreSQL was not tested")
        terminalreporter.line(reason)


@pytest.fixture
def postgres_url(database: str) -> Iterator[str]:
    """The URL of an empty schema in a PostgreSQL database."""
    with a_schema(database) as url:
        yield url


@pytest.fixture(scope="session")
def schemas(database: str) -> Iterator[Callable[[int], str]]:
    """The URLs of schemas by number, made once."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda _: stack.enter_context(a_schema(database)))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], FullIndex]]:
    """Opens indexes of one kind, each of them empty."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def opened() -> FullIndex:
            number = next(numbers)
            if request.param == "memory":
                return MemoryIndex()
            if request.param == "sqlite":
                return SqliteIndex(tmp_path / f"{number}.db")
            url = request.getfixturevalue("schemas")(number)
            stack.callback(emptied, url)
            return PostgresIndex(url)

        def kept() -> FullIndex:
            index = opened()
            stack.callback(index.close)
            return index

        yield kept


@pytest.fixture
def index(open_index: Callable[[], FullIndex]) -> FullIndex:
    return open_index()


@pytest.fixture
def other_index(open_index: Callable[[], FullIndex]) -> FullIndex:
    """Another one of the kind of `index`."""
    return open_index()
