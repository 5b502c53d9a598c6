"""Series metadata of 500 instances, fresh and kept, against Debian's Orthanc and nginx with its bytes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import psycopg

from tests.bench import baselines, orthanc
from tests.bench.asking import Question
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, Site
from tests.bench.slices import a_series, study_and_series
from tests.bench.stow import post_all
from tests.databases import NoServer, own_server

NAME = "meta500"
_SLICES = 500
_TIMES = 30
_PER_REQUEST = 20
_READY_S = 30.0
_NGINX = "nginx, static file"
_BUNDLES = "SELECT count(*) FROM bundle"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations: the first request after the series was stored, the same again, the first of a process."""
    nginx = baselines.nginx_program()
    if nginx is None:
        yield Skipped(NAME, _NGINX, "nginx is not installed")
        return
    yield from _on(rig, rounds, nginx, "SQLite", None)
    try:
        with own_server() as server:
            yield from _on(rig, rounds, nginx, "PostgreSQL", server.url)
    except NoServer as reason:
        yield Skipped(NAME, "PostgreSQL", str(reason))


def _on(rig: Rig, rounds: int, nginx: str, index: str, url: str | None) -> Iterator[Figure | Skipped]:
    """The figures with one kind of index: files, or the PostgreSQL database at `url`."""
    settings: dict[str, Any] = {} if url is None else {"ISTHMUS_INDEX": url}
    with ExitStack() as stack:
        site = stack.enter_context(rig.service(**settings))
        peer = stack.enter_context(orthanc.orthanc(rig)) if orthanc.installed() else None
        number = 0
        ports = {"ours": site.port} | ({orthanc.NAME: peer.port} if peer else {})
        first: dict[str, list[float]] = {side: [] for side in ports}
        for _ in range(rounds):
            number = rig.next_series()
            for side, port in ports.items():
                first[side].append(_first_after_storing(site, port, number))
        questions = {side: _question(site, port, number) for side, port in ports.items()}
        body = _body(questions["ours"])
        nginx_port, served = stack.enter_context(baselines.nginx(rig, nginx))
        (served / "metadata.json").write_bytes(body)
        questions[_NGINX] = Question(nginx_port, "/metadata.json", len(body))
        again = in_turn(rounds, {side: partial(_again, side, one) for side, one in questions.items()})
        _until_ready(site.folder, url, rounds)
    what = f"{index}, {len(body) / 1e6:.1f} MB"
    if peer is None:
        yield Skipped(NAME, orthanc.NAME, "Orthanc or its DICOMweb plugin is not installed")
    else:
        after = f"{what}, first after storing"
        yield Figure(NAME, after, MILLISECONDS, first["ours"], orthanc.NAME, first[orthanc.NAME])
        yield Figure(NAME, f"{what}, again", MILLISECONDS, again["ours"], orthanc.NAME, again[orthanc.NAME])
    yield Figure(NAME, f"{what}, again", MILLISECONDS, again["ours"], _NGINX, again[_NGINX])
    alone: dict[str, Callable[[], float]] = {
        "ours": lambda: _first_of_process(rig, site.folder, settings, questions["ours"]),
        _NGINX: lambda: _first_of_nginx(rig, nginx, questions[_NGINX], body),
    }
    values = in_turn(rounds, alone)
    yield Figure(NAME, f"{what}, first of a process", MILLISECONDS, values["ours"], _NGINX, values[_NGINX])


def _path(site: Site, number: int) -> str:
    return site.url(*study_and_series(number), "/metadata")


def _first_after_storing(site: Site, port: int, number: int) -> float:
    """Store series `number` at `port`; how long the first request for its metadata takes."""
    post_all(port, _PER_REQUEST, a_series(number, _SLICES))
    return _one_ms(port, _path(site, number))


def _question(site: Site, port: int, number: int) -> Question:
    with Connection(port) as connection:
        return Question(port, _path(site, number), len(connection.get(_path(site, number)).body))


def _body(question: Question) -> bytes | memoryview:
    with Connection(question.port) as connection:
        return question.ask(connection)


def _again(side: str, question: Question) -> float:
    if side == orthanc.NAME:  # which takes seconds
        return _one_ms(question.port, question.path)
    return question.median_ms(_TIMES)


def _until_ready(folder: Path, url: str | None, series: int) -> None:
    """Return once the metadata of so many series are ready-made. `Failed` if that takes too long."""
    deadline = time.monotonic() + _READY_S
    while _bundles(folder, url) < series:
        if time.monotonic() > deadline:
            raise Failed("The metadata are not made ready.")
        time.sleep(0.1)


def _bundles(folder: Path, url: str | None) -> int:
    if url is None:
        database = apsw.Connection(str(folder / "index.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return int(str(next(database.execute(_BUNDLES))[0]))
        finally:
            database.close()
    with psycopg.connect(url) as connection:
        return int(connection.execute(_BUNDLES.encode()).fetchall()[0][0])


def _first_of_process(rig: Rig, folder: Path, settings: dict[str, Any], question: Question) -> float:
    """The duration of the first request to a service that has just become ready and never saw the series."""
    with rig.service(folder, **settings) as site:
        return _one_ms(site.port, question.path)


def _first_of_nginx(rig: Rig, nginx: str, question: Question, body: bytes | memoryview) -> float:
    with baselines.nginx(rig, nginx) as (port, served):
        (served / "metadata.json").write_bytes(body)
        return _one_ms(port, question.path)


def _one_ms(port: int, path: str) -> float:
    """How long one request takes, its connection included."""
    begun = time.perf_counter()
    with Connection(port) as connection:
        answer = connection.get(path)
    if answer.status != 200:
        raise Failed(f"Metadata were answered {answer.status}.")
    return 1000 * (time.perf_counter() - begun)
