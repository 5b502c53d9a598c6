"""Values in the form in which they are compared and ordered: text, numbers, dates and times.

Dates are `YYYYMMDD`, times `HHMMSS.FFFFFF`, date-times `YYYYMMDDHHMMSS.FFFFFF` in UTC where they name
their offset, as written where they do not. Such text sorts by time. Values that cannot be read have no
comparable form, which counts as having no value; nothing here ever raises for odd data.
"""

import math
import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime, timedelta

type Comparable = str | int | float

NUMBERS = frozenset(("IS", "DS", "US", "UL", "SS", "SL", "SV", "UV", "FL", "FD"))
MOMENTS = frozenset(("DA", "TM", "DT"))
TEXTS = frozenset(("AE", "AS", "AT", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"))
# PS3.4 C.2.2.2.4; of these, the last four are never split at a reverse solidus (PS3.5 6.2).
WILDCARDS = frozenset(("AE", "CS", "LO", "PN", "SH", "UC", "LT", "ST", "UR", "UT"))
UNSPLIT = frozenset(("LT", "ST", "UR", "UT"))

_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_LONGEST_NUMBER = 64
# ACR-NEMA wrote dates with dots and times with colons; both still occur.
_DATE = re.compile(r"(\d{4})(?:([./-]?)(\d\d)(?:\2(\d\d))?)?", re.ASCII)
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,9}))?)?)?", re.ASCII)
_DATE_TIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)


def comparable(vr: str, value: object) -> Comparable | None:
    """The comparable form of one value out of a DICOM JSON `Value` array, `None` if it has none.

    Person names have three forms: see `names.fold_name`.
    """
    if value is None or isinstance(value, dict | list | bool):
        return None
    text = str(value).replace("\0", "").strip()
    if not text:
        return None
    if vr in NUMBERS:
        return number(text)
    if vr == "DA":
        return date(text, whole=True)
    if vr == "TM":
        return time(text)
    if vr == "DT":
        return date_time(text)
    return text.upper() if vr == "AT" else text


def number(text: str) -> int | float | None:
    """An integer string, decimal string or binary number by its value."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    try:
        whole = int(text)
    except ValueError:
        real = float(text)
        if not math.isfinite(real):
            return None
        if not real.is_integer() or abs(real) > 1 << 53:
            return real
        whole = int(real)
    return whole if -(1 << 63) <= whole < 1 << 63 else float(whole)


def date(text: str, *, last: bool = False, whole: bool = False) -> str | None:
    """The first day of the date, month or year that `text` names, or the last; `whole` wants a day."""
    found = _DATE.fullmatch(text)
    if found is None or (whole and found[4] is None):
        return None
    month = found[3] or ("12" if last else "01")
    day = found[4] or ("31" if last else "01")
    if not ("01" <= month <= "12" and "01" <= day <= "31"):
        return None
    return found[1] + month + day


def time(text: str, *, last: bool = False) -> str | None:
    """The first instant of the hour, minute, second or fraction that `text` names, or the last."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    if hour == "24":  # the end of the day, as some senders write it
        return "240000.000000" if not (f"{minute or ''}{second or ''}{fraction or ''}").strip("0") else None
    clock = _clock(hour, minute, second, fraction, last)
    return clock if hour < "24" and clock[2:4] < "60" and clock[4:6] <= "60" else None


def date_time(text: str, *, last: bool = False) -> str | None:
    """The first instant of the period that `text` names to its own precision, or the last."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    calendar = date(year + (month or "") + (day or ""), last=last)
    clock = _clock(hour, minute, second, fraction, last)
    if calendar is None or not (clock[:2] < "24" and clock[2:4] < "60" and clock[4:6] <= "60"):
        return None
    return calendar + clock if offset is None else _in_utc(calendar, clock, offset)


def _clock(hour: str | None, minute: str | None, second: str | None, fraction: str | None, last: bool) -> str:
    hour = hour or ("23" if last else "00")
    minute = minute or ("59" if last else "00")
    second = second or ("59" if last else "00")
    return f"{hour}{minute}{second}.{(fraction or '')[:6]:{'9' if last else '0'}<6}"


def _in_utc(day: str, clock: str, offset: str) -> str | None:
    ahead = timedelta(hours=int(offset[:3]), minutes=int(offset[0] + offset[3:]))
    try:
        year, month = int(day[:4]), int(day[4:6])
        days = min(int(day[6:]), monthrange(year, month)[1])  # "the 31st" ends every month
        hour, minute, second = int(clock[:2]), int(clock[2:4]), min(int(clock[4:6]), 59)
        moment = datetime(year, month, days, hour, minute, second, int(clock[7:])) - ahead
    except (ValueError, OverflowError):
        return None
    # strftime does not pad years before 1000
    return f"{moment.year:04}{moment:%m%d%H%M%S.%f}"


def element_values(element: object) -> list[object]:
    """The `Value` array of a DICOM JSON attribute; empty if it has none."""
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values if isinstance(values, list) else []
