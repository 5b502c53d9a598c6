"""The documented settings are those that the programs read, with the defaults that they take."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bridge.settings import BridgeSettings, read_settings
from openapi.settings import DOCUMENT, ROWS, default_of, written
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
_SETTING = re.compile(r"ISTHMUS_[A-Z][A-Z_0-9]+")
_HOW = (
    "give it a row in openapi/settings.py (its name, the field with its value, what it says), then run "
    "`python -m openapi.settings`; docs/settings.md is written by that and not by hand"
)


class Recording(dict[str, str]):
    """An empty environment that remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.asked.add(name)
        return default


def read_by_the_programs() -> set[str]:
    environ = Recording()
    Settings.from_environment(environ)
    read_settings(environ)
    return {name for name in environ.asked | {*named_in("service", "bridge")} if _SETTING.fullmatch(name)}


def named_in(*folders: str) -> Iterator[str]:
    """What the readers of an environment are asked for by name: `text(environ, "ISTHMUS_…", …)`."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and len(node.args) > 1:
                    environ, name = node.args[:2]
                    about = isinstance(environ, ast.Name) and environ.id == "environ"
                    if about and isinstance(name, ast.Constant) and isinstance(name.value, str):
                        yield name.value


def test_every_setting_that_is_read_is_described():
    missing = read_by_the_programs() - {name for row in ROWS for name in row.names}
    assert missing == set(), f"not described: {sorted(missing)}; {_HOW}"


def test_no_setting_is_described_that_nobody_reads():
    assert {name for row in ROWS for name in row.names} - read_by_the_programs() == set()


def test_the_document_is_written_from_the_table():
    assert DOCUMENT.read_text() == written(), f"docs/settings.md is not what the table says: {_HOW}"


def test_every_setting_has_a_default_and_stands_once():
    names = [name for row in ROWS for name in row.names]
    assert len(set(names)) == len(names)
    assert [row.names for row in ROWS if not default_of(row)] == []
    assert [row.names for row in ROWS if row.fields and len(row.fields) != len(row.names)] == []


def test_deadlines_follow_one_another():
    service, bridge = Settings(), BridgeSettings()
    assert bridge.limits.pdu_s < service.body_stall_s < bridge.archive.answer_s
    assert service.statement_s < bridge.archive.answer_s
