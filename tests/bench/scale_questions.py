"""The searches of `research/ingest.md` 3, and those that cost most, asked of an index itself."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from service.dicom.errors import TooCostly
from service.dicom.query import Query
from service.dicom.resource import Level, Resource
from service.index.port import FullIndex
from tests.bench.scale_people import identity, person
from tests.bench.scale_population import PER_ROUND

_TIMES = 60
_SLOW_TIMES = 12
_SLOW_S = 1.0
_FEW_TIMES = 4
_VERY_SLOW_S = 5.0
_PAGE = "100"

type Params = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """How long the askings of one question took, and how many matches they had.

    `processor_ms` is what they took of this process, which is nearly all for SQLite and does not depend on
    what else runs; a database server's share is not in it.
    """

    what: str
    durations_ms: list[float]
    processor_ms: list[float]
    matches: list[int]
    refused: int

    def line(self) -> str:
        """The figure as a row of a table."""
        ordered = sorted(self.durations_ms)
        p95 = ordered[min(round(len(ordered) * 0.95), len(ordered) - 1)]
        refused = f"  {self.refused} of {len(ordered)} ended by the statement limit" if self.refused else ""
        found = statistics.median(self.matches)
        own = statistics.median(self.processor_ms)
        return (
            f"| {self.what:<42} | {statistics.median(ordered):>9.2f} | {p95:>9.2f} | {own:>9.2f}"
            f" | {found:>5.0f} |{refused}"
        )


def ask_all(index: FullIndex, studies: int, *, only: str = "") -> Iterator[Figure]:
    """Every question whose name has `only` in it, each with many different values."""
    for what, asking in _questions(studies).items():
        if only in what:
            yield _asked(what, asking, index)


type Asking = Callable[[random.Random, FullIndex], Callable[[], int]]


def _asked(what: str, asking: Asking, index: FullIndex) -> Figure:
    chance = random.Random(what)
    durations: list[float] = []
    processor: list[float] = []
    matches: list[int] = []
    refused = 0
    times = _TIMES
    while len(durations) < times:
        ask = asking(chance, index)
        begun, worked = time.perf_counter(), time.thread_time()
        try:
            found = ask()
        except TooCostly:
            refused += 1
            found = 0
        seconds = time.perf_counter() - begun
        durations.append(1000 * seconds)
        processor.append(1000 * (time.thread_time() - worked))
        matches.append(found)
        if seconds > _SLOW_S:
            times = min(times, _SLOW_TIMES)
        if seconds > _VERY_SLOW_S:
            times = min(times, _FEW_TIMES)
    return Figure(what, durations, processor, matches, refused)


def _search(level: Level, params: Callable[[random.Random], Params], *, limit: str = _PAGE) -> Asking:
    def asking(chance: random.Random, index: FullIndex) -> Callable[[], int]:
        query = Query.from_url(level, [*params(chance), ("limit", limit)])
        return lambda: len(index.find(query).matches)

    return asking


def _following(studies: int) -> Asking:
    """The page behind one that was read before, far down."""

    def asking(chance: random.Random, index: FullIndex) -> Callable[[], int]:
        offset = chance.randrange(studies // 2)
        index.find(Query.from_url(Level.STUDY, [("offset", str(offset)), ("limit", "1")]))
        query = Query.from_url(Level.STUDY, [("offset", str(offset + 1)), ("limit", _PAGE)])
        return lambda: len(index.find(query).matches)

    return asking


def _below(level: Level, studies: int) -> Asking:
    """The series of a study, or the instances of a series."""

    def asking(chance: random.Random, index: FullIndex) -> Callable[[], int]:
        who = _any(chance, studies)
        series = who["series_uid"] if level is Level.INSTANCE else None
        query = Query.from_url(level, [], study=who["study_uid"], series=series)
        return lambda: len(index.find(query).matches)

    return asking


def _located(studies: int) -> Asking:
    def asking(chance: random.Random, index: FullIndex) -> Callable[[], int]:
        who = _any(chance, studies)
        resource = Resource(who["study_uid"], who["series_uid"], who["instance_uid"])
        return lambda: len(index.locate(resource))

    return asking


def _documents(studies: int) -> Asking:
    def asking(chance: random.Random, index: FullIndex) -> Callable[[], int]:
        resource = Resource(_any(chance, studies, shape=0)["study_uid"])
        return lambda: len(list(index.documents(resource) or ()))

    return asking


def _any(chance: random.Random, studies: int, shape: int | None = None) -> dict[str, str]:
    study = chance.randrange(studies)
    if shape is not None:
        study = min(study // PER_ROUND * PER_ROUND + shape, studies - 1)
    return dict(identity(study, 0, 0).texts)


def _questions(studies: int) -> dict[str, Asking]:
    return {**_by_key(studies), **_by_name(studies), **_by_date(studies), **_below_studies(studies)}


def _by_key(studies: int) -> dict[str, Asking]:
    def key(name: str, told: str) -> Asking:
        return _search(Level.STUDY, lambda chance: [(name, _any(chance, studies)[told])])

    return {
        "StudyInstanceUID": key("StudyInstanceUID", "study_uid"),
        "PatientID": key("PatientID", "patient"),
        "AccessionNumber": key("AccessionNumber", "accession"),
        "PatientID, its first eight characters *": _search(
            Level.STUDY, lambda chance: [("PatientID", _any(chance, studies)["patient"][:8] + "*")]
        ),
        "PatientBirthDate": key("PatientBirthDate", "birth"),
        "PatientName and PatientBirthDate": _search(
            Level.STUDY,
            lambda chance: [
                (name, told)
                for who in [_any(chance, studies)]
                for name, told in (
                    ("PatientName", who["name"][:3] + "*"),
                    ("PatientBirthDate", who["birth"]),
                )
            ],
        ),
        "ReferringPhysicianName": key("ReferringPhysicianName", "doctor"),
        "StudyID": key("StudyID", "accession"),
        "StudyDescription *head*": _search(Level.STUDY, lambda chance: [("StudyDescription", "*head*")]),
        "StudyDescription *of none*": _search(
            Level.STUDY, lambda chance: [("StudyDescription", f"*nothing{chance.random()}*")]
        ),
        "NumberOfStudyRelatedInstances": _search(
            Level.STUDY, lambda chance: [("NumberOfStudyRelatedInstances", chance.choice(["24", "12"]))]
        ),
        "NumberOfStudyRelatedInstances of none": _search(
            Level.STUDY, lambda chance: [("NumberOfStudyRelatedInstances", str(chance.randrange(50, 90)))]
        ),
    }


def _by_name(studies: int) -> dict[str, Asking]:
    def part(chance: random.Random, letters: int) -> str:
        family = person("name", chance.randrange(studies // 3)).partition("^")[0]
        first = chance.randrange(max(len(family) - letters, 0) + 1)
        return family[first : first + letters]

    def name(pattern: Callable[[random.Random], str], *more: tuple[str, str]) -> Asking:
        return _search(Level.STUDY, lambda chance: [("PatientName", pattern(chance)), *more])

    return {
        "PatientName prefix*, by name": name(
            lambda c: person("name", c.randrange(studies // 3))[:5] + "*", ("orderby", "PatientName")
        ),
        "PatientName prefix*, newest first": name(
            lambda c: person("name", c.randrange(studies // 3))[:5] + "*"
        ),
        "PatientName *4 letters*": name(lambda c: f"*{part(c, 4)}*"),
        "PatientName *7 letters*": name(lambda c: f"*{part(c, 7)}*"),
        "PatientName *of none*": name(lambda c: f"*{c.choice('qxyj')}{c.choice('qxyj')}q{c.choice('xj')}*"),
        "PatientName *2 letters*": name(lambda c: f"*{part(c, 2)}*"),
        "PatientName *山田*": name(lambda c: "*山田*"),
        "PatientName, fuzzy, two words": name(
            lambda c: " ".join(word[:4] for word in person("name", c.randrange(studies // 3)).split("^")),
            ("fuzzymatching", "true"),
        ),
    }


def _by_date(studies: int) -> dict[str, Asking]:
    def days(chance: random.Random, number: int) -> str:
        first = date.fromisoformat(_any(chance, studies)["date"])
        return f"{first:%Y%m%d}-{first + timedelta(days=number - 1):%Y%m%d}"

    def within(number: int, *more: tuple[str, str]) -> Asking:
        return _search(Level.STUDY, lambda chance: [("StudyDate", days(chance, number)), *more])

    def page(offset: int) -> Asking:
        return _search(Level.STUDY, lambda chance: [("offset", str(offset + chance.randrange(10)))])

    return {
        "first page, newest first": _search(Level.STUDY, lambda chance: []),
        "a week and ModalitiesInStudy": within(7, ("ModalitiesInStudy", "CT")),
        "a year and ModalitiesInStudy": within(365, ("ModalitiesInStudy", "NM")),
        "a year": within(365),
        "ModalitiesInStudy": _search(Level.STUDY, lambda chance: [("ModalitiesInStudy", "NM")]),
        "ModalitiesInStudy of none": _search(Level.STUDY, lambda chance: [("ModalitiesInStudy", "SM")]),
        "a month, includefield=PatientPosition": within(30, ("includefield", "00185100")),
        "a page at a tenth of all studies": page(studies // 10),
        "a page at nine tenths of all studies": page(studies * 9 // 10),
        "the page behind one that was read": _following(studies),
    }


def _below_studies(studies: int) -> dict[str, Asking]:
    def key(level: Level, name: str, told: str) -> Asking:
        return _search(level, lambda chance: [(name, _any(chance, studies)[told])])

    return {
        "series of a study": _below(Level.SERIES, studies),
        "instances of a series": _below(Level.INSTANCE, studies),
        "SeriesInstanceUID": key(Level.SERIES, "SeriesInstanceUID", "series_uid"),
        "SOPInstanceUID": key(Level.INSTANCE, "SOPInstanceUID", "instance_uid"),
        "series, ScheduledProcedureStepID": key(
            Level.SERIES, "RequestAttributesSequence.ScheduledProcedureStepID", "step"
        ),
        "series, PatientID": key(Level.SERIES, "PatientID", "patient"),
        "series, newest first": _search(Level.SERIES, lambda chance: []),
        "series, Modality": _search(Level.SERIES, lambda chance: [("Modality", "NM")]),
        "series, Modality of none": _search(Level.SERIES, lambda chance: [("Modality", "SM")]),
        "instances, newest first": _search(Level.INSTANCE, lambda chance: []),
        "instances, NumberOfFrames": _search(Level.INSTANCE, lambda chance: [("NumberOfFrames", "30")]),
        "instances, NumberOfFrames of none": _search(
            Level.INSTANCE, lambda chance: [("NumberOfFrames", str(chance.randrange(40, 99)))]
        ),
        "one instance located": _located(studies),
        "metadata of a study of 24 instances": _documents(studies),
    }
