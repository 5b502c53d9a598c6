"""Documents with functional groups for each frame say the same, however little of them is parsed."""

from typing import Any

import orjson
import pytest

from service.archive.perframe import Items, parsed
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.pixels.attributes import Attributes, functional_group

_VOI, _CENTER = 0x00289132, 0x00281050


def a_group(number: int, text: str = "") -> dict[str, Any]:
    """The functional groups of a frame, with a window of its own."""
    return {
        "00209157": {"vr": "UL", "Value": [number]},
        "00209158": {"vr": "LT", "Value": [text]},
        "00289132": {"vr": "SQ", "Value": [{"00281050": {"vr": "DS", "Value": [number]}}]},
    }


def a_document(groups: list[Any], **more: Any) -> bytes:
    """Attributes in the order of their tags, as they are stored."""
    members = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2.1"]},
        "00083002": {"vr": "UI", "Value": []},
        "52009230": {"vr": "SQ", "Value": groups},
        "7FE00010": {"vr": "OW", "BulkDataURI": "slot/bulkdata/7FE00010"},
        **more,
    }
    written = orjson.dumps(dict(sorted(members.items())))
    return written.replace(b'"Value":[]', b'"Value":[' + SYNTAXES_SLOT + b"]", 1).replace(b"slot", BASE_SLOT)


def whole(document: bytes) -> Any:
    return orjson.loads(document.replace(BASE_SLOT, b"").replace(SYNTAXES_SLOT, b""))


def unfolded(members: Any) -> Any:
    """The attributes with all items parsed."""
    return {**members, "52009230": {"vr": "SQ", "Value": list(members["52009230"]["Value"])}}


@pytest.mark.parametrize(
    "text", ["", "a", '"},{"', "\\", '\\"', "{", "}}", '"52009230":{"vr":"SQ","Value":[', "[,]", "ü€"]
)
@pytest.mark.parametrize("count", [1, 2, 500])
def test_large_documents_say_the_same(text, count):
    document = a_document([a_group(number, text * 40) for number in range(count)])
    document = document.replace(
        b'"7FE00010"', b'"55551001":{"vr":"LT","Value":["' + b"x" * 70_000 + b'"]},"7FE00010"'
    )

    members, size = parsed(document, most_bytes=1 << 30)

    assert isinstance(members["52009230"]["Value"], Items)
    assert unfolded(members) == whole(document)
    assert size > len(document)


def test_small_documents_are_parsed_whole():
    document = a_document([a_group(1)])
    assert parsed(document, most_bytes=1 << 30)[0] == whole(document)


@pytest.mark.parametrize("groups", [[], [{}], [{}] * 20_000])
def test_groups_without_anything_in_them(groups):
    filler = {"00081030": {"vr": "LO", "Value": ["x" * 70_000]}}
    document = a_document(groups, **filler)

    assert unfolded(parsed(document, most_bytes=1 << 30)[0]) == whole(document)


def test_groups_inside_of_another_sequence_are_left_where_they_are():
    inner = {"52009230": {"vr": "SQ", "Value": [a_group(number) for number in range(600)]}}
    document = a_document([a_group(7)], **{"00081115": {"vr": "SQ", "Value": [inner]}})

    members, _ = parsed(document, most_bytes=1 << 30)

    assert unfolded(members) == whole(document)
    assert len(members["52009230"]["Value"]) == 1


@pytest.mark.parametrize("frame", [1, 2, 600, 0, -1, 601])
def test_each_frame_has_its_own_group(frame):
    document = a_document([a_group(number) for number in range(1, 601)])
    members, _ = parsed(document, most_bytes=1 << 30)
    assert isinstance(members["52009230"]["Value"], Items)

    found, expected = (functional_group(Attributes(one), frame, _VOI) for one in (members, whole(document)))

    if 1 <= frame <= 600:
        assert found is not None and expected is not None
        assert found.number(_CENTER) == expected.number(_CENTER) == frame
    else:
        assert found is None and expected is None


def test_items_are_a_sequence_like_any_other():
    document = a_document([a_group(number) for number in range(600)])
    groups = parsed(document, most_bytes=1 << 30)[0]["52009230"]["Value"]

    assert groups[-1] == a_group(599)
    assert groups[2:4] == [a_group(2), a_group(3)]
    with pytest.raises(IndexError):
        groups[600]


def test_what_is_no_item_is_none():
    attributes = Attributes({"52009230": {"vr": "SQ", "Value": [None, {"00281050": {"vr": "DS"}}]}})
    assert attributes.item(0x52009230, 1) is None
    assert attributes.item(0x52009230, 2) is not None
    assert attributes.item(0x52009230) is not None
