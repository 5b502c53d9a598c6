"""What SQL finds is what the matching rules find, on data and queries drawn at random."""

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.memory import MemoryIndex
from service.index.port import FullIndex, OnDuplicate

NAMES = [
    "Doe^John", "DOE^JOHN^^Dr", "Müller^Jürgen", "Muller^Anna Maria", "Гусева^Мария",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "O'Neil^A[1]", "Doe", None, "Hong^Gildong=洪^吉洞=홍^길동", ["Doe^Jane", "Smith^Will"],
]  # fmt: skip
DATES = ["20240101", "20240115", "2024.01.31", "20231231", "nonsense", None, "20240229", "2024013"]
TIMES = ["101500", "10:15:00", "1015", "235959.999999", "000000", "9", None, "240000", "10"]
DATE_TIMES = ["20240101101500", "20240101101500+0200", "2024", "20240101101500.5-0500", "x", None]
TEXTS = [
    "A1",
    "a1",
    "A1 ",
    "B[2]",
    "C*",
    "head",
    "Head\\Neck",
    None,
    "",
    "Ünï",
    'q"uote',
    ["ONE", "TWO"],
    "T?",
]
CODES = ["CT", "MR", "XA", "PT", None, "ct"]
NUMBERS = [1, 2, "2", "1A", None, 10, "007", 1.5, "1e2", 12345678901234567890]
STEPS: list[Any] = [
    None, [], [{"00400009": "S1", "00401001": "P1"}], [{"00400009": "S1"}, {"00401001": "P2"}],
    [{"00400009": ["S1", "S2"], "00401001": "P2"}], [{}],
]  # fmt: skip
CONCEPTS: list[Any] = [
    None,
    [{"00080100": "113000", "00080102": "DCM", "00080104": "Of Interest"}],
    [{"00080100": "X"}],
]

ZONES = ["+0100", "-0500", "+0530", "-1200", "+1400", "nowhere", None]

VALUES: dict[str, list[Any]] = {
    "00080201": ZONES,
    "00080020": DATES, "00080030": TIMES, "00080050": TEXTS, "00080080": TEXTS, "00080090": NAMES,
    "00081030": TEXTS,
    "00100010": NAMES, "00100020": TEXTS, "00100030": DATES, "00100040": CODES, "00200010": TEXTS,
    "00104000": TEXTS,
    "00080021": DATES, "00080031": TIMES, "00080060": CODES, "0008103E": TEXTS, "00081050": NAMES,
    "00180015": CODES,
    "00200011": NUMBERS, "00400244": DATES, "00400245": TIMES, "00400275": STEPS, "00185100": CODES,
    "00080008": [["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY", "MIP"], "AXIAL", None], "00080023": DATES,
    "00080033": TIMES, "0008002A": DATE_TIMES, "00200013": NUMBERS, "00280008": NUMBERS, "00280010": NUMBERS,
    "0040A043": CONCEPTS, "00700080": CODES, "00180050": NUMBERS,
}  # fmt: skip

ASKED = {
    "DA": ["20240101", "20240101-20240131", "-20240115", "20240115-", "202401", "2024", "*", "2024-01-15"],
    "TM": ["1015", "101500-", "-1015", "10-10", "0900-2400", "10:15:00.0"],
    "DT": ["20240101-20240102", "20240101101500", "20240101081500+0000", "2024-", "-2023"],
    "PN": ["doe*", "Doe^John", "*muller*", "гусева*", "山田*", "Doe^*", "*=山田*", "==やまだ*", "D?e", "*[1]",
    "Doe\\Smith^Will"],
    "LO": ["A1", "a*", "*1", "B[2]", "C\\A1", "?1", "head", "ONE", "TWO", "T*", "*e*d*", "Ün?", 'q"*'],
    "CS": ["CT", "CT,MR", "MR\\XA", "C*", "?T", "PRIMARY", "M*"],
    "IS": ["1", "2", "007", "1,2", "100", "1.5", "12345678901234567890"],
    "UI": ["1.1", "1.1,1.2", "1.1\\\\1.3", "1.2.1"],
}  # fmt: skip

KEYS: dict[Level, list[tuple[str, str]]] = {
    Level.STUDY: [
        ("StudyDate", "DA"), ("StudyTime", "TM"), ("AccessionNumber", "LO"), ("InstitutionName", "LO"),
        ("ReferringPhysicianName", "PN"), ("StudyDescription", "LO"), ("PatientName", "PN"), ("PatientID",
        "LO"),
        ("PatientBirthDate", "DA"), ("PatientSex", "CS"), ("StudyID", "LO"), ("ModalitiesInStudy", "CS"),
        ("StudyInstanceUID", "UI"), ("NumberOfStudyRelatedInstances", "IS"), ("NumberOfStudyRelatedSeries",
        "IS"),
        ("SOPClassesInStudy", "UI"), ("InstanceAvailability", "CS"),
    ],
    Level.SERIES: [
        ("Modality", "CS"), ("SeriesDescription", "LO"), ("SeriesNumber", "IS"), ("SeriesDate", "DA"),
        ("SeriesTime", "TM"), ("PerformingPhysicianName", "PN"), ("BodyPartExamined", "CS"),
        ("PerformedProcedureStepStartDate", "DA"), ("PerformedProcedureStepStartTime", "TM"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "S"),
        ("RequestAttributesSequence.00401001", "P"), ("SeriesInstanceUID", "UI"),
        ("NumberOfSeriesRelatedInstances", "IS"),
    ],
    Level.INSTANCE: [
        ("ImageType", "CS"), ("ContentDate", "DA"), ("ContentTime", "TM"), ("AcquisitionDateTime", "DT"),
        ("InstanceNumber", "IS"), ("NumberOfFrames", "IS"), ("Rows", "IS"), ("ContentLabel", "CS"),
        ("ConceptNameCodeSequence.CodeValue", "K"), ("ConceptNameCodeSequence.00080104", "K"),
        ("SOPClassUID", "UI"), ("00180050", "IS"), ("PatientComments", "LO"), ("PatientPosition", "CS"),
    ],
}  # fmt: skip
ASKED |= {"S": ["S1", "S*", "S2"], "P": ["P1", "P2", "?2"], "K": ["113000", "*", "Of*", "X"]}
MULTIPLE = ["ONE,TWO", "ORIGINAL,PRIMARY", "CT,MR", "A1,A1"]


def a_library(random_: random.Random, a_record: Callable[..., InstanceRecord]) -> list[InstanceRecord]:
    records = []
    for study in range(1, 13):
        for series in range(1, random_.randint(1, 3) + 1):
            for instance in range(1, random_.randint(1, 3) + 1):
                values = {
                    f"x{tag}": random_.choice(choices)
                    for tag, choices in VALUES.items()
                    if random_.random() < 0.8
                }
                uid = f"1.{study}.{series}"
                sop_class = random_.choice(["1.1", "1.2.1", "1.3"])
                records.append(
                    a_record(f"1.{study}", uid, f"{uid}.{instance}", sop_class=sop_class, **values)
                )
    random_.shuffle(records)
    return records


def a_search(random_: random.Random) -> tuple[Level, list[tuple[str, str]], str | None]:
    level = random_.choice([Level.STUDY, Level.SERIES, Level.INSTANCE])
    names = [key for at, keys in KEYS.items() if at <= level for key in keys]
    params: dict[str, str] = {}
    for name, vr in random_.sample(names, random_.choice([1, 1, 1, 2, 2, 3])):
        params[name] = random_.choice(ASKED[vr])
    if random_.random() < 0.25:
        day, clock = random_.choice([("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime")][: level.value])
        params[day], params[clock] = random_.choice(ASKED["DA"][1:4]), random_.choice(ASKED["TM"][1:5])
    if random_.random() < 0.15:
        params["emptyvaluematching"] = "true"
        params[random_.choice(names)[0]] = '""'
    if random_.random() < 0.15:
        params["multiplevaluematching"] = "true"
        params[random_.choice(["ModalitiesInStudy", "PatientID", "StudyDescription"])] = random_.choice(
            MULTIPLE
        )
    if random_.random() < 0.15:
        params["fuzzymatching"] = "true"
        params["PatientName"] = random_.choice(
            ["jo do", "ohn", "mull", "ju mul", "тар", "мар гус", "山田", "a[1]"]
        )
    if random_.random() < 0.3:
        params["includefield"] = random_.choice(
            ["all", "PatientComments,SOPClassesInStudy", "00180050", "00400275"]
        )
    if random_.random() < 0.2:
        params["TimezoneOffsetFromUTC"] = random_.choice(["+0100", "-0500", "+1400", "-1200", ""])
    if random_.random() < 0.3:
        params["orderby"] = an_order(random_, names)
    if random_.random() < 0.3:
        params["limit"], params["offset"] = str(random_.randint(0, 4)), str(random_.randint(0, 6))
    return level, list(params.items()), random_.choice([None, "1.1", "1.2", "1.3"])


def an_order(random_: random.Random, names: list[tuple[str, str]]) -> str:
    chosen = random_.sample([name for name, _ in names], random_.randint(1, 3))
    return ",".join(random_.choice(["", "-"]) + name for name in chosen)


def run(index: Any, level: Level, params: list[tuple[str, str]], study: str | None) -> Any:
    try:
        answer = index.find(Query.from_url(level, params, study=study))
    except Exception as error:
        return type(error).__name__, str(error)
    for match in answer.matches:
        parsed = orjson.loads(match.replace(b"\x00", b"base:").replace(b"\x01", b'"1.2"'))
        assert list(parsed) == sorted(parsed)
    return answer.matches, answer.remaining, answer.at_least, answer.total, list(answer.syntaxes)


@pytest.mark.parametrize("open_index", ["sqlite", "postgres"], indirect=True)
def test_sql_finds_what_the_matching_rules_find(
    open_index: Callable[[], FullIndex], a_record: Callable[..., InstanceRecord]
) -> None:
    differences = []
    hits = 0
    for seed in range(4):
        random_ = random.Random(seed)
        records = a_library(random_, a_record)
        sql, memory = open_index(), MemoryIndex()
        for index in (sql, memory):
            index.add(records, on_duplicate=OnDuplicate.REFUSE)
            if seed % 2:  # studies and series lose the instance that they were described by
                for record in records[::3]:
                    index.remove(Resource(record.key.study, record.key.series, record.key.instance))
        for _ in range(500):
            asked = a_search(random_)
            found, true = run(sql, *asked), run(memory, *asked)
            hits += len(true[0]) if isinstance(true[0], list) else 0
            if found != true:
                differences.append((seed, asked, true, found))
        sql.close()
    shown = [
        f"{seed} {asked}: true {len(true[0])} {true[1:4]}, found {len(found[0])} {found[1:4]}"
        for seed, asked, true, found in differences[:10]
    ]
    assert not differences, "\n".join(shown)
    assert hits > 500


SORTABLE = [
    name
    for at in (Level.STUDY, Level.SERIES)
    for name, _ in KEYS[at]
    if "." not in name and name not in ("ModalitiesInStudy", "SOPClassesInStudy", "InstanceAvailability")
]


@pytest.mark.parametrize("open_index", ["sqlite", "postgres"], indirect=True)
def test_pages_are_the_same_in_sql_and_in_memory_while_the_archive_changes(
    open_index: Callable[[], FullIndex], a_record: Callable[..., InstanceRecord]
) -> None:
    differences = []
    pages = seed = 0
    while pages < 300:
        seed += 1
        random_ = random.Random(100 + seed)
        records = a_library(random_, a_record)
        both = open_index(), MemoryIndex()
        for index in both:
            index.add(records[::2], on_duplicate=OnDuplicate.REFUSE)
        for _ in range(12):
            level = random_.choice([Level.STUDY, Level.SERIES, Level.INSTANCE])
            params = [("limit", str(random_.randint(1, 4)))]
            if random_.random() < 0.6:
                names = [(name, "") for name in SORTABLE[: 14 if level is Level.STUDY else None]]
                params.append(("orderby", an_order(random_, names)))
            offset, found = 0, 1
            while found:
                asked = (level, [*params, ("offset", str(offset))], None)
                answers = [run(index, *asked) for index in both]
                if answers[0] != answers[1]:
                    differences.append((seed, asked, [answer[1:4] for answer in answers]))
                found = len(answers[1][0])
                offset += found
                pages += 1
                change(random_, records, both)
        both[0].close()

    assert differences == []


def change(random_: random.Random, records: list[InstanceRecord], indexes: tuple[Any, ...]) -> None:
    record = random_.choice(records)
    comes = random_.random() < 0.5
    for index in indexes:
        if comes:
            index.add([record], on_duplicate=OnDuplicate.REFUSE)
        else:
            index.remove(Resource(record.key.study, record.key.series, record.key.instance))
