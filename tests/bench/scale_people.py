"""Who and what the studies of the synthetic archive are about: names, dates, UIDs, told by numbers alone.

Nothing follows its neighbour as in a counted-up toy: UIDs have the roots of ten vendors and lie anywhere
among one another, as in an archive that hears many devices; dates go on by a busy hospital's 183 studies a
day; names are as unevenly common as names are; a patient has three studies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Any

_PER_DAY = 183
_DAYS = 5_479  # fifteen years
_FIRST_DAY = date(2010, 1, 1)
_PATIENTS_TOGETHER = 10_000  # the studies of so many patients are mixed
_STUDIES_OF_A_PATIENT = 3
_SURNAMES, _GIVEN, _DOCTORS = 4_000, 400, 3_000
_ONSETS = (*"bdfghklmnprstvwz", "br", "st", "sch", "tr")
_ENDS = (*"aeiou", "ar", "en", "er", "in", "ol", "an", "eck", "ich", "ov", "el")
_ROOTS = (
    "1.3.12.2.1107.5.1.4.73491", "1.2.840.113619.2.55.3.28", "1.2.392.200036.9116.2.6.1",
    "1.3.46.670589.11.8406.5", "1.2.826.0.1.3680043.8.498", "1.2.276.0.7230010.3.1",
    "1.3.6.1.4.1.14519.5.2.1", "1.2.124.113532.10.126", "1.2.528.1.1001.200.10", "2.16.840.1.113669.632.20",
)  # fmt: skip

# What the templates are made with: texts that stand nowhere else, each of the form that its VR wants.
ASSUMED: Mapping[str, str] = {
    "study_uid": "2.25.770000000000000000000001",
    "series_uid": "2.25.770000000000000000000002",
    "instance_uid": "2.25.770000000000000000000003",
    "noise": "what differs in each",
    "object_key": "the key of the object",
    "date": "19070317",
    "time": "031709.000000",
    "moment": "19070318041810.000000",
    "birth": "19060216",
    "accession": "the accession",
    "patient": "the patient",
    "number": "7716925543",
    "step": "the step",
    "procedure": "the procedure",
    "name": "NAME^ASSUMED",
    "folded_name": "name^assumed",
    "doctor": "DOCTOR^ASSUMED",
    "folded_doctor": "doctor^assumed",
}
ASSUMED_DIGEST = hashlib.sha256(ASSUMED["object_key"].encode()).digest()


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one instance from all others: texts by name, and the same as octets for forms."""

    texts: Mapping[str, Any]
    octets: Mapping[bytes, bytes]


def form(document: bytes) -> bytes:
    """`document` with places, in the manner of `%`, where it says what is assumed."""
    document = document.replace(b"%", b"%%")
    for name, text in ASSUMED.items():
        document = document.replace(text.encode(), b"%%(%s)b" % name.encode())
    return document


def identity(study: int, series: int, instance: int) -> Identity:
    """The identity of an instance; `octets` has all but what forms never ask for."""
    of_study, octets_of_study = _study(study)
    code = _code_of_series(study, series)
    series_uid = f"{_ROOTS[study % 10]}.30001{code % 10**12:012d}{study % 10**8:08d}{series:02d}"
    instance_uid = (
        f"{_ROOTS[study % 10]}.30002{code % 10**12:012d}{study % 10**8:08d}{series:02d}{instance:04d}"
    )
    upload = f"{study:08x}-{series:04x}-7{instance:03x}-8000-{code % 16**12:012x}"
    object_key = f"studies/{of_study['study_uid']}/{series_uid}/{instance_uid}.{upload}.dcm"
    texts = {
        **of_study,
        "series_uid": series_uid,
        "instance_uid": instance_uid,
        "object_key": object_key,
        "digest": hashlib.sha256(object_key.encode()).digest(),
    }
    octets = {
        **octets_of_study,
        b"series_uid": series_uid.encode(),
        b"instance_uid": instance_uid.encode(),
        b"noise": hashlib.blake2b(object_key.encode()).hexdigest().encode(),
    }
    return Identity(texts, octets)


def patient_of(study: int) -> int:
    """The number of the patient of a study."""
    together = _PATIENTS_TOGETHER * _STUDIES_OF_A_PATIENT
    return study // together * _PATIENTS_TOGETHER + _number("patient", study) % _PATIENTS_TOGETHER


def person(kind: str, number: int) -> str:
    """The name of a person, of which some are many times as common as others."""
    code = _number(kind, number)
    often = (code % 9973 / 9973) ** 2
    surname = _word(int(often * _SURNAMES), 3)
    return f"{surname}^{_word(_SURNAMES + code // 9973 % _GIVEN, 2)}".upper()


@lru_cache(maxsize=4)
def _code_of_series(study: int, series: int) -> int:
    return _number("series", study * 100 + series)


@lru_cache(maxsize=4)  # the instances of a study come in a row
def _study(study: int) -> tuple[dict[str, str], dict[bytes, bytes]]:
    texts = _described(study)
    return texts, {name.encode(): text.encode() for name, text in texts.items()}


def _described(study: int) -> dict[str, str]:
    code = _number("study", study)
    day = _FIRST_DAY + timedelta(days=study // _PER_DAY % _DAYS)
    hour, minute, second = 7 + code % 12, code // 12 % 60, code // 720 % 60
    patient = patient_of(study)
    name = person("name", patient)
    doctor = person("doctor", code % _DOCTORS)
    born = _FIRST_DAY - timedelta(days=_number("born", patient) % 33_000)
    return {
        "study_uid": f"{_ROOTS[study % 10]}.30000{day:%y%m%d}{code % 10**12:012d}{study % 10**8:08d}",
        "date": f"{day:%Y%m%d}",
        "time": f"{hour:02d}{minute:02d}{second:02d}.000000",
        "moment": f"{day:%Y%m%d}{hour:02d}{minute:02d}{second:02d}.000000",
        "birth": f"{born:%Y%m%d}",
        "accession": f"ACC{study:09d}",
        "patient": f"PAT{patient:08d}",
        "number": f"{_number('number', patient) % 10**9:010d}",
        "step": f"SPS{study:09d}",
        "procedure": f"RP{study // 2:09d}",
        "name": name,
        "folded_name": name.lower(),
        "doctor": doctor,
        "folded_doctor": doctor.lower(),
    }


def _number(kind: str, number: int) -> int:
    """64 bits by chance, always the same for the same."""
    return int.from_bytes(hashlib.blake2b(b"%s %d" % (kind.encode(), number), digest_size=8).digest())


@cache
def _word(number: int, syllables: int) -> str:
    code = _number("word", number)
    word = ""
    for _ in range(syllables):
        code, onset = divmod(code, len(_ONSETS))
        code, end = divmod(code, len(_ENDS))
        word += _ONSETS[onset] + _ENDS[end]
    return word
