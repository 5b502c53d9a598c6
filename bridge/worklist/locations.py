"""`ISTHMUS_WORKLIST`: the sources of the worklist, one after the other."""

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from service.environment import SettingError, shown

_NAME = "ISTHMUS_WORKLIST"
_PARTED = re.compile(r"\s*,\s*(?=(?:pushed|none)\s*(?:,|$)|(?:file|sqlite|postgres|postgresql):)")
_VIEW = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(?:\.[A-Za-z_][A-Za-z0-9_]{0,62})?")


class Kind(enum.Enum):
    """The kinds of sources."""

    PUSHED = "what is sent by HTTP"
    FILES = "a folder of files"
    SQLITE = "a view in an SQLite database"
    POSTGRESQL = "a view in a PostgreSQL database"


@dataclass(frozen=True, slots=True)
class Location:
    """Where one source is: a folder, a database file, or the URL of a database, and the view there."""

    kind: Kind
    place: str = ""
    view: str = ""


PUSHED = Location(Kind.PUSHED)


def read_locations(given: str) -> tuple[Location, ...]:
    """The sources that the text of the setting names; `SettingError` says what one may be."""
    if given == "none":
        return ()
    found = tuple(_location(each) for each in _PARTED.split(given))
    if len(set(found)) != len(found):
        raise SettingError(f"{_NAME} names a source twice.")
    return found


def _location(given: str) -> Location:
    scheme, separator, rest = given.partition("://")
    if given == "pushed":
        return PUSHED
    if separator and scheme == "file" and rest:
        folder = Path(unquote(rest))
        if not folder.is_dir():
            raise SettingError(f"{_NAME} must name a folder that can be read; {folder} is none.")
        return Location(Kind.FILES, str(folder))
    if separator and scheme in ("sqlite", "postgresql", "postgres") and rest:
        return _of_database(scheme, rest)
    raise SettingError(
        f"{_NAME} must be 'none', or one or more of pushed, file:///FOLDER, sqlite:///FILE?view=NAME and "
        f"postgresql://USER@HOST/DATABASE?view=NAME, joined by commas; it has {shown(given)!r}."
    )


def _of_database(scheme: str, rest: str) -> Location:
    place, _, query = rest.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    view = dict(options).get("view", "")
    if _VIEW.fullmatch(view) is None:
        raise SettingError(
            f"{_NAME} must say which view of the database it is, ?view=NAME or ?view=SCHEMA.NAME."
        )
    others = [(name, value) for name, value in options if name != "view"]
    if scheme != "sqlite":
        _require_readable(f"postgresql://{place}")
        query = f"?{urlencode(others)}" if others else ""
        return Location(Kind.POSTGRESQL, f"postgresql://{place}{query}", view)
    if others:
        raise SettingError(f"{_NAME}: {others[0][0]!r} is no option of an SQLite database.")
    file = Path(unquote(place))
    if not file.is_file():
        raise SettingError(f"{_NAME} must name a database file that can be read; {file} is none.")
    return Location(Kind.SQLITE, str(file), view)


def _require_readable(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = url.isprintable() and parts.path.count("/") < 2
    except ValueError:
        usable = False
    if not usable:
        raise SettingError(
            f"{_NAME} cannot be read as the URL of a PostgreSQL database, such as "
            "postgresql://isthmus@db.example.org/ris?view=worklist."
        )
