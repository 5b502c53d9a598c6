"""How fast instances are entered: rows by eight writers, and whole STOW requests of one instance each."""

import functools
import multiprocessing
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from multiprocessing.synchronize import Barrier

import psycopg

from service.dicom.query import Query
from service.dicom.resource import Level, Resource
from service.index.open import open_index
from service.index.port import OnDuplicate
from tests.bench.figures import in_turn
from tests.bench.rig import Failed, Rig, Site, processor_s, seconds_of
from tests.bench.scale_people import identity
from tests.bench.scale_places import Place
from tests.bench.scale_population import record
from tests.bench.stow import post_all
from tests.making import a_data_set, a_file, add_pixels

_WRITERS = 8
_BATCHES = {1: 250, 25: 40}  # transactions of each writer, by the records in each
_WAIT_S = 120.0
_SIDE = "full", "empty"
_CLIENTS = 4
_REQUESTS = 100
_SLICES = {"8 kB": 64, "527 kB": 512}  # the pixels' rows and columns
_CT_SERIES = 1  # of a study of the first shape
_FIRST = 20_000_000  # studies with higher numbers are in no population


def row_rates(place: Place, rounds: int) -> Iterator[str]:
    """Rows per second of eight writers at once, into one series and into studies of their own."""
    for size, transactions in _BATCHES.items():
        for together in (True, False):
            what = f"{'one series' if together else 'own studies'}, {size} a transaction"
            values = in_turn(
                rounds,
                {
                    side: partial(_rate, url, size, transactions, together)
                    for side, url in zip(_SIDE, (place.full, place.empty), strict=True)
                },
            )
            yield _compared(f"rows, {_WRITERS} writers, {what}", values)
    yield _counted(place)


def stow_rates(place: Place, rounds: int) -> Iterator[str]:
    """Requests of one instance per second, by four clients, at the full index and at the empty one.

    And what an instance costs in processor time of service and database together, which does not depend on
    what else the machine does.
    """
    with Rig() as rig, ExitStack() as stack:
        sites = {
            side: stack.enter_context(rig.service(ISTHMUS_INDEX=url))
            for side, url in zip(_SIDE, (place.full, place.empty), strict=True)
        }
        for side in _SIDE:
            _stored(sites[side], 64, place.server)  # the first use is not measured
        for what, pixels in _SLICES.items():
            costs: dict[str, list[float]] = {side: [] for side in _SIDE}

            def measured(side: str, pixels: int = pixels, costs: dict[str, list[float]] = costs) -> float:
                rate, cost = _stored(sites[side], pixels, place.server)
                costs[side].append(cost)
                return rate

            values = in_turn(rounds, {side: partial(measured, side) for side in _SIDE})
            named = f"STOW, 1 a request, {_CLIENTS} clients, {what}"
            yield _compared(named, values)
            yield _compared(f"{named}: processor", costs, unit="ms")


def _compared(what: str, values: dict[str, list[float]], unit: str = "/s") -> str:
    full, empty = (values[side] for side in _SIDE)
    rounds = [one / other for one, other in zip(full, empty, strict=True)]
    ratio = statistics.median(full) / statistics.median(empty)
    return (
        f"| {what:<52} | {statistics.median(full):>8.4g} {unit} | {statistics.median(empty):>8.4g} {unit} |"
        f" {ratio:.2f} | {min(rounds):.2f} to {max(rounds):.2f} |"
    )


def _new_study() -> int:
    """The number of a study of the first shape that nobody has used."""
    return _FIRST + 10 * secrets.randbelow(7_000_000)


def _rate(url: str, size: int, transactions: int, together: bool) -> float:
    """Rows per second of all writers, each in a process of its own."""
    common = _new_study()
    context = multiprocessing.get_context("spawn")
    line = context.Barrier(_WRITERS + 1)
    with closing(open_index(url)) as index:  # the series is there before they begin
        index.add([record(common, _CT_SERIES, 900_000)], on_duplicate=OnDuplicate.REFUSE)
    writers = []
    for writer in range(_WRITERS):
        study = common if together else _new_study()
        first = writer * size * transactions if together else 0
        bound = (url, line, study, first, size, transactions)
        writers.append(context.Process(target=_write, args=bound, daemon=True))
    for process in writers:
        process.start()
    line.wait(_WAIT_S)
    begun = time.perf_counter()
    line.wait(_WAIT_S)
    seconds = time.perf_counter() - begun
    for process in writers:
        process.join(_WAIT_S)
        if process.exitcode:
            raise Failed("A writer ended before its work was done.")
    return _WRITERS * size * transactions / seconds


def _write(url: str, line: Barrier, study: int, first: int, size: int, transactions: int) -> None:
    """One writer: makes its records, waits for the others, enters them, and waits again."""
    batches = [
        [record(study, _CT_SERIES, number) for number in range(begin, begin + size)]
        for begin in range(first, first + size * transactions, size)
    ]
    with closing(open_index(url)) as index:
        index.locate(Resource(batches[0][0].key.study))  # which connects
        try:
            line.wait(_WAIT_S)
            for batch in batches:
                index.add(batch, on_duplicate=OnDuplicate.REFUSE)
            line.wait(_WAIT_S)
        except BaseException:
            line.abort()
            raise


def _counted(place: Place) -> str:
    """Whether a count is exact right after each of many additions, and how long it waits to be folded."""
    study = _new_study()
    waits: list[float] = []
    query = Query.from_url(Level.STUDY, [], study=record(study, 0, 0).key.study)
    with place.opened() as index:
        for number in range(20):
            index.add([record(study, _CT_SERIES, number)], on_duplicate=OnDuplicate.REFUSE)
            added = time.perf_counter()
            (match,) = index.find(query).matches
            if b'"00201208":{"vr":"IS","Value":[%d]}' % (number + 1) not in match:
                raise Failed(f"After {number + 1} additions a search tells another count.")
            if place.kind == "postgres":
                with psycopg.connect(place.full, autocommit=True) as connection:
                    while connection.execute("SELECT 1 FROM arrival LIMIT 1").fetchone():
                        time.sleep(0.005)
                waits.append(time.perf_counter() - added)
    folded = f", folded after {statistics.median(waits):.2f} s, {max(waits):.2f} s at most" if waits else ""
    return f"Counts are exact after each of 20 additions{folded}."


def _stored(site: Site, pixels: int, server: int | None) -> tuple[float, float]:
    """Requests per second, and the milliseconds of processor time of one."""
    shares = [[_a_file(study, number, pixels) for number in range(_REQUESTS)] for study in _new_studies()]
    processes = [site.process, *([] if server is None else [server])]
    spent = sum(map(processor_s, processes))
    seconds = seconds_of(*(partial(post_all, site.port, 1, share) for share in shares))
    spent = sum(map(processor_s, processes)) - spent
    stored = _CLIENTS * _REQUESTS
    return stored / seconds, 1000 * spent / stored


def _new_studies() -> list[int]:
    return [_new_study() for _ in range(_CLIENTS)]


def _a_file(study: int, number: int, pixels: int) -> bytes:
    """A slice whose UIDs lie among those of the population, so that it is entered anywhere."""
    texts, told = _said(study, number), _said(_FIRST, 0)
    file = _pattern(pixels)
    for name in told:  # all of a length, since all studies that are stored here have one shape
        file = file.replace(told[name], texts[name])
    return file


def _said(study: int, number: int) -> dict[str, bytes]:
    texts = identity(study, _CT_SERIES, number).texts
    names = ("study_uid", "series_uid", "instance_uid", "patient", "accession")
    return {name: texts[name].encode() for name in names}


@functools.cache
def _pattern(pixels: int) -> bytes:
    texts = {name: text.decode() for name, text in _said(_FIRST, 0).items()}
    made = a_data_set(
        study=texts["study_uid"],
        series=texts["series_uid"],
        instance=texts["instance_uid"],
        PatientID=texts["patient"],
        AccessionNumber=texts["accession"],
    )
    return a_file(add_pixels(made, [bytes(2 * pixels * pixels)], rows=pixels, columns=pixels))
