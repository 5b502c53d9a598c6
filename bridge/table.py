"""One table of a TOML file, read key by key; what cannot be used is named with its place."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from bridge import hosts, syntaxes
from bridge.hosts import Network
from service.dicom.text import registration
from service.environment import SettingError

# PS3.5 6.2, AE: at most 16 characters of the default repertoire without backslash, not only spaces.
_AE_TITLE = re.compile(r"(?=.*[!-~])[ -\[\]-~]{1,16}")
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,253}")


class Table:
    """A table whose keys are taken out one after the other; `end` finds those that nobody asked for.

    Every method may raise `SettingError`.
    """

    def __init__(self, place: str, values: Mapping[str, Any]) -> None:
        self._place = place
        self._values = values
        self._asked: set[str] = set()

    def tables(self, key: str) -> dict[str, "Table"]:
        """The tables `[key.NAME]` by name."""
        return {
            name: Table(f"{self._place}: [{key}.{name}]", self._checked_table(f"{key}.{name}", inner))
            for name, inner in self._checked_table(key, self._take(key, {})).items()
        }

    def rows(self, key: str) -> "list[Table]":
        """The tables `[[key]]` in their order."""
        value = self._take(key, [])
        if not isinstance(value, list):
            self._complain(key, f"must be tables, each below a line [[{key}]]", value)
        return [
            Table(f"{self._place}: [[{key}]] {number}", self._checked_table(f"{key} {number}", inner))
            for number, inner in enumerate(value, 1)
        ]

    def names(self) -> list[str]:
        """All keys that are there."""
        return list(self._values)

    @property
    def place(self) -> str:
        """The setting, file and table that messages name."""
        return self._place

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def table(self, key: str) -> "Table":
        """The table `[key]`, empty if it is absent."""
        return Table(f"{self._place}: [{key}]", self._checked_table(key, self._take(key, {})))

    def end(self) -> None:
        """Complain about the first key that is not known."""
        for key in self._values:
            if key not in self._asked:
                raise SettingError(f"{self._place}: {key!r} is not a key that is known here.")

    def flag(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self._complain(key, "must be true or false", value)
        return value

    def host(self, key: str) -> str:
        """The name or address of a host, which must be there."""
        value = self._needed(key)
        if not isinstance(value, str) or _HOST.fullmatch(value) is None:
            self._complain(key, "must be the name or the address of a host", value)
        return value

    def ae_title(self, key: str) -> str:
        """An AE title, which must be there, without surrounding spaces."""
        value = self._needed(key)
        if not isinstance(value, str) or _AE_TITLE.fullmatch(value) is None:
            self._complain(key, "must be 1 to 16 ASCII characters without backslash", value)
        return value.strip(" ")

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number from `least` to `most`, which must be there."""
        return self._number(key, self._needed(key), least, most)

    def optional_integer(self, key: str, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`, if it is there."""
        value = self._take(key, None)
        return None if value is None else self._number(key, value, least, most)

    def seconds(self, key: str) -> float | None:
        """A time of more than 0 s and at most a day, if it is there."""
        value = self._take(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86400:
            self._complain(key, "must be seconds, more than 0 and at most 86400", value)
        return float(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        """One of `choices`, if it is there."""
        value = self._take(key, None)
        if value is not None and value not in choices:
            self._complain(key, f"must be one of {', '.join(choices)}", value)
        return None if value is None else str(value)

    def choices(self, key: str, choices: tuple[str, ...]) -> frozenset[str] | None:
        """Some of `choices`, if the key is there."""
        items = self._items(key)
        if items is None:
            return None
        for item in items:
            if item not in choices:
                self._complain(key, f"must be a list of some of {', '.join(choices)}", item)
        return frozenset(items)

    def networks(self, key: str) -> tuple[Network, ...] | None:
        """Addresses and networks, `*` for all, if the key is there."""
        items = self._items(key)
        if items is None:
            return None
        found: list[Network] = []
        for item in items:
            try:
                found += hosts.ANYWHERE if item == "*" else (ipaddress.ip_network(item),)
            except ValueError:
                self._complain(key, "must be addresses and networks such as 10.0.0.0/8, or *", item)
        return tuple(found)

    def syntaxes(self, key: str) -> frozenset[str] | None:
        """Transfer syntaxes by UID, pattern or name, and Implicit VR Little Endian, if the key is there."""
        items = self._items(key)
        if items is None:
            return None
        try:
            return syntaxes.listed(items)
        except ValueError as unknown:
            self._complain(key, "must be transfer syntaxes that are stored here", str(unknown))

    def text(self, key: str) -> str:
        """A text without surrounding space, empty if it is not there."""
        value = self._take(key, "")
        if not isinstance(value, str) or (key in self._values and not value.strip()):
            self._complain(key, "must be a text that is not empty", value)
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of texts, none if the key is not there."""
        value = self._take(key, [])
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            self._complain(key, "must be a text or a list of texts", value)
        return tuple(items)

    def url(self, key: str) -> str:
        """An http or https URL without query, fragment and password, which must be there."""
        value = self._needed(key)
        rule = (
            "must be an https URL such as https://archive.example.org/dicom-web, without a password or query"
        )
        if not isinstance(value, str) or not value.isascii() or any(c <= " " for c in value):
            self._complain(key, rule, value)
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or "@" in parts.netloc:
            self._complain(key, rule, value)
        return value.rstrip("/")

    def file(self, key: str) -> Path | None:
        """A file that is there, if the key is."""
        value = self._take(key, None)
        if value is None:
            return None
        if not isinstance(value, str) or not Path(value).is_file():
            self._complain(key, "must name a file that can be read", value)
        return Path(value)

    def lossless_syntax(self, key: str) -> str | None:
        """One transfer syntax that instances can be made into without loss, if it is there."""
        uid = self.syntax(key)
        if uid is not None and not syntaxes.is_made(uid):
            self._complain(key, "must be a transfer syntax that is made without loss", self._values[key])
        return uid

    def syntax(self, key: str) -> str | None:
        """One transfer syntax by UID or name, if it is there."""
        value = self._take(key, None)
        if value is None:
            return None
        found = syntaxes.matched(value) if isinstance(value, str) else ()
        if len(found) != 1:
            self._complain(key, "must be one transfer syntax that is stored here", value)
        return found[0]

    def charset(self, key: str) -> str | None:
        """A Specific Character Set, several terms joined by a backslash, if it is there."""
        value = self._take(key, None)
        if value is None:
            return None
        terms = value.split("\\") if isinstance(value, str) else [""]
        if not any(terms) or any(term and registration(term) is None for term in terms):
            self._complain(key, "must be defined terms of Specific Character Set", value)
        return str(value)

    def _take(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        return self._values.get(key, default)

    def _needed(self, key: str) -> Any:
        value = self._take(key, None)
        if value is None:
            raise SettingError(f"{self._place}: {key} is missing.")
        return value

    def _items(self, key: str) -> list[str] | None:
        value = self._take(key, None)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._complain(key, "must be a list of texts", value)
        return list(value)

    def _number(self, key: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._complain(key, f"must be a whole number from {least} to {most}", value)
        return int(value)

    def _checked_table(self, key: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise SettingError(f"{self._place}: {key} must be a table.")
        return value

    def complain(self, key: str, rule: str, value: object) -> NoReturn:
        """Say that `value`, of `key`, does not keep to `rule`."""
        self._complain(key, rule, value)

    def _complain(self, key: str, rule: str, value: object) -> NoReturn:
        raise SettingError(f"{self._place}: {key} {rule}; it is {value!r}.")
