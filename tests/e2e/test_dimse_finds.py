"""C-FIND over real studies, through both programs, against a reading of all of them one by one."""

import json
import os
import random
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from service.dicom.matching import matches
from service.dicom.querying import Agreement, Root, read_query
from service.dicom.resource import Level
from service.dicom.syntaxes import EXPLICIT_LE
from tests.dimse.dimse_peers import Ground
from tests.dimse.finding import PATIENT_ROOT, STUDY_ROOT, Asker
from tests.identifiers import a_query, identifier_of

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

FOLDERS = ("charset", "studies", "sr", "modality")
PLACES = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}
NAMES = {Level.STUDY: "STUDY", Level.SERIES: "SERIES", Level.INSTANCE: "IMAGE"}
UID = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
# Keys of each level by tag and VR, those that are indexed and those that are not.
KEYS = {
    Level.STUDY: {
        "PatientName": "00100010", "PatientID": "00100020", "StudyDate": "00080020", "StudyTime": "00080030",
        "AccessionNumber": "00080050", "StudyID": "00200010", "ModalitiesInStudy": "00080061",
        "ReferringPhysicianName": "00080090", "StudyDescription": "00081030", "InstitutionName": "00080080",
        "PatientBirthDate": "00100030", "PatientSex": "00100040", "StudyInstanceUID": "0020000D",
        "NumberOfStudyRelatedInstances": "00201208", "PatientAge": "00101010", "PatientWeight": "00101030",
    },
    Level.SERIES: {
        "Modality": "00080060", "SeriesNumber": "00200011", "SeriesDescription": "0008103E",
        "BodyPartExamined": "00180015", "Manufacturer": "00080070", "StationName": "00081010",
        "SeriesInstanceUID": "0020000E", "NumberOfSeriesRelatedInstances": "00201209",
        "SeriesDate": "00080021", "SeriesTime": "00080031", "SoftwareVersions": "00181020",
    },
    Level.INSTANCE: {
        "SOPInstanceUID": "00080018", "SOPClassUID": "00080016", "InstanceNumber": "00200013",
        "Rows": "00280010", "Columns": "00280011", "BitsAllocated": "00280100", "ImageType": "00080008",
        "ContentDate": "00080023", "ContentTime": "00080033", "NumberOfFrames": "00280008",
        "SliceThickness": "00180050", "PhotometricInterpretation": "00280004", "KVP": "00180060",
    },
}  # fmt: skip

WORDS = ("Rows", "Columns", "BitsAllocated")  # numbers in binary


@pytest.fixture(scope="module")
def filled(product: Any, real_data: Any) -> Any:
    """The product with real files in it."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "ISTHMUS_PORT": str(product.port),
    }
    subprocess.run(
        [sys.executable, "-m", "service", "import", *(str(real_data / folder) for folder in FOLDERS)],
        cwd=product.folder, env=environ, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    return product


@pytest.fixture(scope="module")
def everything(filled: Any) -> dict[Level, list[dict[str, Any]]]:
    """All that the archive says of every study, series and instance."""
    found = {}
    for level, place in PLACES.items():
        fields = ",".join(tag for each in Level if each <= level for tag in KEYS.get(each, {}).values())
        with urllib.request.urlopen(
            f"{filled.root}/{place}?limit=5000&includefield={fields}", timeout=60
        ) as answer:
            assert "Warning" not in answer.headers
            found[level] = json.loads(answer.read())
    assert len(found[Level.STUDY]) > 30
    return found


@pytest.fixture(scope="module")
def ask(filled: Any) -> Iterator[Asker]:
    ground = Ground(uvloop.new_event_loop)
    yield Asker(ground, filled.dimse_port, syntax=EXPLICIT_LE)
    ground.end()


def a_value(chance: random.Random, match: dict[str, Any], tag: str) -> str | None:
    """A key that may match `match`: a value of it, or what wildcards and ranges make of that."""
    element = match.get(tag, {})
    if not element.get("Value"):
        return None
    value = element["Value"][0]
    text = next(iter(value.values()), "") if isinstance(value, dict) else str(value)
    text = text.strip()
    if not text or "\\" in text:
        return None
    vr, kind = element["vr"], chance.random()
    if vr == "DA" and len(text) == 8:
        return chance.choice([text, f"{text[:4]}", f"{text}-", f"-{text}", f"{text[:6]}01-{text}"])
    if vr == "TM":
        text = text.replace(":", "")
        return chance.choice([text, f"{text[:4]}-", f"-{text[:6]}", f"0800-{text[:6]}"])
    if vr in ("CS", "LO", "PN", "SH") and kind < 0.6:
        at = chance.randrange(len(text))
        return chance.choice([text[: at + 1] + "*", "*" + text[at:], text[:at] + "?" + text[at + 1 :]])
    return text


def queries(level: Level, held: list[dict[str, Any]], count: int) -> Iterator[dict[str, str | int]]:
    chance = random.Random(int(level))
    usable = [(word, tag) for each in Level if each <= level for word, tag in KEYS.get(each, {}).items()]
    for _ in range(count):
        match = chance.choice(held)
        chosen = chance.sample(usable, chance.choice([1, 1, 2, 3]))
        keys = {word: a_value(chance, match, tag) for word, tag in chosen}
        yield {word: int(text) if word in WORDS else text for word, text in keys.items() if text}


@pytest.mark.parametrize("level", list(PLACES), ids=NAMES.get)
@pytest.mark.parametrize("extended", [b"", b"\1\1"], ids=["plain", "combined"])
def test_what_is_found_is_what_matches_one_by_one(ask, everything, level, extended):
    problems = []
    compared = 0
    for keys in queries(level, everything[level], 60):
        query = a_query(NAMES[level], SpecificCharacterSet="ISO_IR 192", **keys)
        asked = read_query(identifier_of(query), Root.PATIENT, Agreement.of(extended)).query
        every = [*asked.filters]
        expected = {
            match[UID[level]]["Value"][0]
            for match in everything[level]
            if matches(every, match, combined_datetime=asked.combined_datetime)
            and asked.study in (None, match["0020000D"]["Value"][0])
            and (asked.series is None or asked.series == match["0020000E"]["Value"][0])
        }
        answers = ask.find(query, PATIENT_ROOT, extended)
        found = [str(match[int(UID[level], 16)].value) for match in answers.matches]
        compared += len(found)
        if answers.final.status != 0 or len(found) != len(set(found)) or set(found) != expected:
            problems.append(f"{keys}: {answers.final.status:04X}, {len(found)}, expected {len(expected)}")
    assert not problems, "\n".join(problems)
    assert compared > 60


def test_every_name_of_every_charset_is_told_in_the_archive_s_words(ask, everything):
    told = {match["0020000D"]["Value"][0]: match["00100010"] for match in everything[Level.STUDY]}
    answers = ask.find(a_query(SpecificCharacterSet="ISO_IR 192", PatientName=""), STUDY_ROOT)

    for match in answers.matches:
        (name,) = told[str(match.StudyInstanceUID)].get("Value", [{}])
        groups = [name.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        assert str(match.PatientName or "") == "=".join(groups).rstrip("=")
    assert len(answers.matches) == len(told)


@pytest.mark.skipif(shutil.which("findscu") is None, reason="DCMTK's findscu is not installed")
def test_dcmtk_finds_all_instances(filled, everything):
    ran = subprocess.run(
        ["findscu", "-v", "-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID", "127.0.0.1",
         str(filled.dimse_port)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert ran.stderr.count("(Pending)") == len(everything[Level.INSTANCE])
    assert "Received Final Find Response (Success)" in ran.stderr
