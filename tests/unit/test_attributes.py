"""The attribute tables, and what `describe` takes out of an object."""

from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_keyword, dictionary_VR

from service.dicom.attributes import ATTRIBUTES, attribute_name, find_tag, level_of
from service.dicom.describing import describe
from service.dicom.resource import Level

TAGS = sorted({row.path[0] for row in ATTRIBUTES})


def members(**elements: object) -> dict[int, bytes]:
    return {
        int(tag.removeprefix("x"), 16): b'"%s":%s' % (tag.removeprefix("x").encode(), orjson.dumps(element))
        for tag, element in elements.items()
    }


def test_the_tables_agree_with_the_data_dictionary() -> None:
    wrong = [
        (row.keyword, row.vr)
        for row in ATTRIBUTES
        if dictionary_keyword(row.tag) != row.keyword or dictionary_VR(row.tag) != row.vr
    ]

    assert wrong == []


def test_no_attribute_and_no_column_stands_twice() -> None:
    paths = Counter(row.path for row in ATTRIBUTES)
    columns = Counter((row.level, column) for row in ATTRIBUTES for column in row.columns)

    assert [path for path, times in paths.items() if times > 1] == []
    assert [column for column, times in columns.items() if times > 1] == []


@pytest.mark.parametrize(
    ("tag", "level"),
    [
        (0x00100010, Level.STUDY),
        (0x00104000, Level.STUDY),
        (0x00080060, Level.SERIES),
        (0x00185100, Level.SERIES),
        (0x00200013, Level.INSTANCE),
        (0x00180050, Level.INSTANCE),
        (0x00091001, Level.INSTANCE),
    ],
)
def test_every_attribute_belongs_to_a_level(tag: int, level: Level) -> None:
    assert level_of(tag) is level


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PatientName", (0x00100010, "PN")),
        ("00100010", (0x00100010, "PN")),
        ("0020000d", (0x0020000D, "UI")),
        ("ScheduledProcedureStepID", (0x00400009, "SH")),
        ("PatientComments", (0x00104000, "LT")),
        ("dBdt", (0x00181318, "DS")),
        ("00091001", (0x00091001, "")),
        ("PatientNam", None),
        ("patientname", None),
        ("0010001", None),
        ("", None),
    ],
)
def test_a_tag_is_found_by_name(name: str, found: tuple[int, str] | None) -> None:
    assert find_tag(name) == found


def test_a_path_is_named_in_keywords_where_known() -> None:
    assert attribute_name((0x00400275, 0x00400009)) == "RequestAttributesSequence.ScheduledProcedureStepID"
    assert attribute_name((0x00091001,)) == "00091001"


def test_an_object_is_described_by_its_levels() -> None:
    described = describe(
        members(
            x00080008={"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
            x00080020={"vr": "DA", "Value": ["2024.01.31"]},
            x00080060={"vr": "CS", "Value": ["CT"]},
            x00100010={"vr": "PN", "Value": [{"Alphabetic": "Müller^A", "Ideographic": "山"}]},
            x00200011={"vr": "IS", "Value": ["1A"]},
            x00200013={"vr": "IS", "Value": [7]},
            x00400275={
                "vr": "SQ",
                "Value": [{"00400009": {"vr": "SH", "Value": ["S"]}, "00321060": {"vr": "LO"}}, {}],
            },
        )
    )

    assert described.study["study_date"] == "20240131"
    assert described.study["patient_name"] == "muller^a"
    assert described.study["patient_name_ideographic"] == "山"
    assert described.series["modality"] == "CT"
    assert described.series.get("series_number") is None
    assert described.instance["instance_number"] == 7
    assert described.instance["image_type"] == "ORIGINAL\\PRIMARY"
    assert described.requests == (("S", ""), ("", ""))


def test_the_summaries_return_what_must_be_returned_even_without_value() -> None:
    described = describe(
        members(
            x00100020={"vr": "LO", "Value": ["P1"]},
            x00081030={"vr": "LO", "Value": ["Head"]},
            x00200011={"vr": "IS", "Value": ["1A"]},
            x00280010={"vr": "US", "Value": [512]},
            x00080070={"vr": "LO", "Value": ["not asked for"]},
        )
    )

    assert described.study_summary == (
        b'"00080020":{"vr":"DA"},"00080030":{"vr":"TM"},"00080050":{"vr":"SH"},"00080090":{"vr":"PN"},'
        b'"00081030":{"vr":"LO","Value":["Head"]},"00100010":{"vr":"PN"},'
        b'"00100020":{"vr":"LO","Value":["P1"]},"00100030":{"vr":"DA"},"00100040":{"vr":"CS"},'
        b'"0020000D":{"vr":"UI"},"00200010":{"vr":"SH"}'
    )
    assert described.series_summary == (
        b'"00080060":{"vr":"CS"},"0020000E":{"vr":"UI"},"00200011":{"vr":"IS","Value":["1A"]}'
    )
    assert described.instance_summary == (
        b'"00080016":{"vr":"UI"},"00080018":{"vr":"UI"},"00200013":{"vr":"IS"},'
        b'"00280010":{"vr":"US","Value":[512]}'
    )


def test_members_with_slots_are_never_looked_at() -> None:
    described = describe(members() | {0x7FE00010: b'"7FE00010":{"vr":"OW","BulkDataURI":"\x00/x"}'})

    assert described == describe({})


def test_one_unreadable_member_costs_only_itself() -> None:
    broken = members(x00100020={"vr": "LO", "Value": ["P1"]}) | {
        0x00080050: b'"00080050":{"vr":"SH","Value":[}'
    }

    assert describe(broken).study["patient_id"] == "P1"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "Alphabetic", "00400009", "00080100"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(TAGS), JSON | st.fixed_dictionaries({"Value": JSON}), max_size=8))
def test_no_object_is_too_odd_to_be_described(elements: dict[int, object]) -> None:
    described = describe(
        {tag: b'"%08X":%s' % (tag, orjson.dumps(element)) for tag, element in elements.items()}
    )

    for columns in (described.study, described.series, described.instance):
        assert all(value is None or isinstance(value, str | int | float) for value in columns.values())
    for summary in (described.study_summary, described.series_summary, described.instance_summary):
        assert isinstance(orjson.loads(b"{%s}" % summary), dict)
