"""Fields taken out of stored documents: against the same done on the parsed whole."""

import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.dicom.dicomxml import xml_blocks, xml_document
from service.dicom.errors import BadRequest
from service.dicom.jsonreading import read_json
from service.dicom.members import items, members
from service.dicom.selecting import ALWAYS, Selection

PLAIN = ["00080005", "00080016", "00100010", "00280010", "00290010", "00290011", "00291001", "00291101"]
SEQUENCES = ["00081140", "00400275", "52009230"]
TEXT = st.text(st.sampled_from('a{}[]",:\\\n\0é0'), max_size=12).map(lambda text: text.replace("\0", "\x02"))
VALUES = st.one_of(
    st.lists(st.one_of(TEXT, st.none()), min_size=1, max_size=2).map(
        lambda some: {"vr": "LO", "Value": some}
    ),
    TEXT.map(lambda text: {"vr": "PN", "Value": [{"Alphabetic": text}, None]}),
    st.just({"vr": "US", "Value": [1, -2]}),
    st.just({"vr": "OB", "InlineBinary": "AAEC"}),
    st.just({"vr": "UI"}),
)


def made(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    sequence = st.lists(inner, max_size=3).map(
        lambda some: {"vr": "SQ", "Value": some} if some else {"vr": "SQ"}
    )
    return st.builds(
        lambda plain, sequences: dict(sorted({**plain, **sequences}.items())),
        st.dictionaries(st.sampled_from(PLAIN), VALUES, max_size=5),
        st.dictionaries(st.sampled_from(SEQUENCES), sequence, max_size=2),
    )


DOCUMENTS = made(made(made(st.just({}))))
FIELDS = st.lists(
    st.lists(st.sampled_from(SEQUENCES), max_size=2).flatmap(
        lambda steps: st.sampled_from(PLAIN + SEQUENCES).map(lambda last: ".".join([*steps, last]))
    ),
    min_size=1,
    max_size=4,
)


def picked(document: dict[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    """What `paths` name of a parsed object, private elements with their creators."""
    found: dict[str, Any] = {}
    for key, attribute in document.items():
        whole = any(path == (key,) for path in paths)
        below = [path[1:] for path in paths if path[0] == key and len(path) > 1]
        if whole:
            found[key] = attribute
        elif below and attribute["vr"] == "SQ":
            inner = [picked(one, below) for one in attribute.get("Value", [])]
            found[key] = {"vr": "SQ", "Value": inner} if inner else attribute
        creator = f"{key[:4]}00{key[4:6]}"
        if key in found and key.startswith("0029") and key[4:6] != "00" and creator in document:
            found[creator] = document[creator]
    return dict(sorted(found.items()))


QUIET = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@QUIET
@given(DOCUMENTS, FIELDS)
def test_fields_are_those_of_the_parsed_document(document: dict[str, Any], fields: list[str]) -> None:
    selection = Selection.from_url([("includefield", ",".join(fields))])
    assert selection is not None

    paths = [tuple(field.split(".")) for field in fields] + [(f"{tag:08X}",) for tag in ALWAYS]

    assert orjson.loads(selection.of(orjson.dumps(document))) == picked(document, paths)


@QUIET
@given(DOCUMENTS)
def test_members_and_items_cover_the_document(document: dict[str, Any]) -> None:
    content = orjson.dumps(document)

    found = {f"{one.tag:08X}": content[one.start : one.end] for one in members(content)}

    assert b"{" + b",".join(found.values()) + b"}" == content
    assert list(found) == list(document)
    for one in members(content):
        if one.items:
            inside = [orjson.loads(content[start:end]) for start, end in items(content, one.items)]
            assert inside == document[f"{one.tag:08X}"]["Value"]


@QUIET
@given(DOCUMENTS, st.sampled_from([1, 20, 100, 1000]))
def test_xml_in_blocks_is_xml_at_once(document: dict[str, Any], at_once: int) -> None:
    content = orjson.dumps(document)

    assert b"".join(xml_blocks(content, at_once=at_once)) == xml_document(read_json(content))


def test_many_fields_are_found_as_few_are() -> None:
    document = {f"0018{number:04X}": {"vr": "US", "Value": [number]} for number in range(0x1000, 0x1100)}
    wanted = sorted(document)[::3]
    selection = Selection.from_url([("includefield", ",".join(wanted))])
    assert selection is not None

    assert list(orjson.loads(selection.of(orjson.dumps(document)))) == wanted


def test_xml_of_a_long_document_takes_a_little_memory() -> None:
    item = {"00080100": {"vr": "SH", "Value": ["CODE"]}, "00180050": {"vr": "DS", "Value": [0.1]}}
    content = orjson.dumps({"00081140": {"vr": "SQ", "Value": [item] * 40_000}})

    tracemalloc.start()
    try:
        size = sum(map(len, xml_blocks(content)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > len(content) > 3 << 20
    assert peak < 2 << 20


def test_the_same_fields_have_the_same_name() -> None:
    one = Selection.from_url([("includefield", "PatientID,00280010")])
    other = Selection.from_url([("includefield", "Rows"), ("includefield", "00100020")])
    third = Selection.from_url([("includefield", "Rows")])
    assert one is not None and other is not None and third is not None
    assert one.name == other.name != third.name


def test_a_creator_is_part_of_the_name() -> None:
    names = {
        Selection.from_url([("00290010", creator), ("includefield", "00291001")]).name  # type: ignore[union-attr]
        for creator in ("A", "B")
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    "value", ["1", "12345", "a", "PatientName.", ".PatientName", "Patient Name", "A." * 20 + "Rows"]
)
def test_what_is_no_attribute_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        Selection.from_url([("includefield", value)])


@pytest.mark.parametrize(
    "document", [b'{"00080005":{"vr":"CS","Value":["A', b'{"00081140":{"vr":"SQ","Value":[{']
)
def test_what_is_no_stored_document_is_told(document: bytes) -> None:
    with pytest.raises(ValueError, match="stored"):
        list(members(document))
