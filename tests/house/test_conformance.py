"""The conformance statement is what the service says of itself, and what its tables hold."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.upper.associate import APPLICATION_CONTEXT
from openapi import dimse
from openapi.conformance import CHARACTER_SETS, LEVELS, METHODS, STATEMENT, match_names, written
from service.app import FORGETTING, RECALLING, ROUTES, SHARING
from service.dicom.attributes import find_tag
from service.dicom.classes import OF_NO_PATIENT
from service.dicom.syntaxes import BY_UID, SYNTAXES, available
from service.dicom.text import character_set
from service.web.capabilities import document
from service.web.transactions import WADL

ROOT = Path(__file__).resolve().parents[2]
TEXT = STATEMENT.read_text()
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"


def test_the_statement_is_current():
    assert written() == TEXT, "run `python -m openapi.conformance`"


def methods_in(
    element: ElementTree.Element, path: str = ""
) -> Iterator[tuple[str, str, ElementTree.Element]]:
    for child in element:
        if child.tag == NAMESPACE + "resource":
            yield from methods_in(child, f"{path}/{child.attrib['path']}")
        elif child.tag == NAMESPACE + "method":
            yield child.attrib["name"], path, child


def described() -> dict[str, tuple[str, ElementTree.Element]]:
    """The methods of the Capabilities Description by their names."""
    offered = tuple(
        (method, path.replace(":path}", "}")) for method, path, _ in ROUTES + FORGETTING + RECALLING + SHARING
    )
    root = ElementTree.fromstring(document(offered, WADL).replace(b"\0", b""))
    return {
        element.attrib["id"]: (f"{method} {path}", element) for method, path, element in methods_in(root[0])
    }


DESCRIBED = described()
SECTIONS: dict[str, str] = dict(re.findall(r"^### (\w+)\n\n((?:\|.*\n)+)", TEXT, re.MULTILINE))


def cells(section: str, name: str) -> list[str]:
    """What a row of a transaction's table holds."""
    row = re.search(rf"^\| {name} \| (.+) \|$", section, re.MULTILINE)
    return re.findall(r"`([^`]+)`", row[1]) or row[1].split(", ") if row else []


def test_the_statement_has_the_methods_of_the_capabilities_description():
    assert set(SECTIONS) & {one.identity for one in METHODS.values()} == {*DESCRIBED, "RetrieveCapabilities"}


@pytest.mark.parametrize("identity", DESCRIBED)
def test_a_method_is_the_same_in_both(identity):
    where, element = DESCRIBED[identity]
    section = SECTIONS[identity]
    assert section.startswith(f"| `{where}` |")

    def values(path: str, attribute: str) -> list[str]:
        steps = "/".join(NAMESPACE + step for step in path.split("/"))
        return [one.attrib[attribute] for one in element.findall(steps)]

    assert cells(section, "Gives") == values("response/representation", "mediaType")
    assert cells(section, "Takes") == values("request/representation", "mediaType")
    success, failure = values("response", "status")
    assert (cells(section, "Success"), cells(section, "Failure")) == (success.split(), failure.split())
    params = element.findall(f"{NAMESPACE}request/{NAMESPACE}param")
    named: dict[str, list[str]] = {"query": [], "header": []}
    for one in params:
        named[one.attrib["style"]].append(one.attrib["name"])
    assert cells(section, "Conditional header fields") == [
        name for name in named["header"] if name != "Accept"
    ]
    keys = [name for name in named["query"] if find_tag(name.split(".")[0]) is not None]
    assert cells(section, "Query parameters") == [name for name in named["query"] if name not in keys]
    if identity.startswith("SearchFor"):
        levels = {tuple(match_names(level)) for _, level in LEVELS}
        assert tuple(keys) in levels
        assert all(f"`{name}`" in TEXT for name in keys)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.uid)
def test_every_transfer_syntax_has_its_line(syntax):
    (line,) = (one for one in TEXT.splitlines() if one.startswith(f"| {syntax.name} | `{syntax.uid}` |"))
    assert re.findall(r"`([0-9.]+)`", line)[1:] == list(available(syntax.uid))


@pytest.mark.parametrize("term", [term for term, _ in CHARACTER_SETS])
def test_the_character_sets_are_read(term):
    assert character_set(term.encode())[1]


@pytest.mark.parametrize("uid", [uid for uid in dimse.classes() if dimse.accepted(uid)])
def test_every_class_that_the_bridge_accepts_is_listed(uid):
    assert (f"`{uid}`" in TEXT) != (uid in OF_NO_PATIENT)


def test_nothing_is_listed_that_the_bridge_does_not_accept():
    listed = re.findall(r"^\| [^|]+ \| `(1\.2\.840\.10008\.[0-9.]+)` \|(?: [CN]-|$)", TEXT, re.MULTILINE)
    classes = {uid for uid in listed if uid not in BY_UID and uid != APPLICATION_CONTEXT}
    assert len(classes) > 100
    assert {uid for uid in classes if not dimse.accepted(uid)} == set()


@pytest.mark.parametrize("name", [name for _, name, _, _ in dimse.ASKED])
def test_what_is_asked_of_peers_is_asked_somewhere(name):
    modules = (ROOT / "bridge").rglob("*.py")
    assert any(f"scu.{name}(" in path.read_text() for path in modules)


def test_every_service_of_the_listener_is_described():
    program = (ROOT / "bridge/running.py").read_text()
    imported = set(re.findall(r"^from bridge\.scp\.\w+ import (\w+)$", program, re.MULTILINE))
    offered = imported - {"Listener", "Service"}
    assert offered == {type(service).__name__ for service in dimse.SERVICES}


def test_every_character_set_that_is_read_is_listed():
    single = {f"ISO_IR {number}" for number in range(1, 300) if character_set(f"ISO_IR {number}".encode())[1]}
    listed = {term.replace("ISO 2022 IR", "ISO_IR") for term, _ in CHARACTER_SETS}
    # JIS X 0201 has two halves: ISO 2022 IR 14 comes with 13.
    assert single - {"ISO_IR 14"} == {term for term in listed if term.startswith("ISO_IR")}
