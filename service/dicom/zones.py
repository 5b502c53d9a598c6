"""Time zones: the offset that an object's dates and times are written in (PS3.3 C.12.1.1.8).

Offsets are minutes east of UTC. Dates are `YYYYMMDD` and times `HHMMSS.FFFFFF`, as in `values`.
"""

import re
from datetime import datetime, timedelta

_ZONE = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)
_FIRST, _LAST = -12 * 60, 14 * 60


def read_zone(text: object) -> int | None:
    """The offset that a value of Timezone Offset From UTC (0008,0201) tells, `None` if it tells none."""
    found = _ZONE.fullmatch(text.replace("\0", "").strip()) if isinstance(text, str) else None
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    zone = -minutes if found[1] == "-" else minutes
    return zone if _FIRST <= zone <= _LAST else None


def zoned_date(date: str | None, time: str | None, own: int | None, zone: int) -> str | None:
    """The date of a moment written in the zone `own`, as the zone `zone` has it.

    Without a time of day, or without a zone of its own, a date stays as it is written.
    """
    if date is None or time is None or own is None or own == zone:
        return date
    moment = _moved(date, time, zone - own)
    return date if moment is None else f"{moment.year:04}{moment:%m%d}"


def zoned_time(date: str | None, time: str | None, own: int | None, zone: int) -> str | None:
    """The time of day of a moment written in the zone `own`, as the zone `zone` has it."""
    if time is None or own is None or own == zone:
        return time
    moment = _moved(date or "20000101", time, zone - own)
    return time if moment is None else f"{moment:%H%M%S.%f}"


def days_around(date: str, days: int) -> str:
    """The date `days` after `date`, which may be none that a calendar has."""
    day = min(max(int(date[6:]), 1), 28)
    try:
        moved = datetime(int(date[:4]), int(date[4:6]), day) + timedelta(days + int(date[6:]) - day)
    except (ValueError, OverflowError):
        return date
    return f"{moved.year:04}{moved:%m%d}"


def _moved(date: str, time: str, minutes: int) -> datetime | None:
    clock = timedelta(
        hours=int(time[:2]),
        minutes=int(time[2:4]) + minutes,
        seconds=int(time[4:6]),
        microseconds=int(time[7:]),
    )
    try:
        return datetime(int(date[:4]), int(date[4:6]), int(date[6:])) + clock
    except (ValueError, OverflowError):  # the 31st of a shorter month, the year 0
        return None
