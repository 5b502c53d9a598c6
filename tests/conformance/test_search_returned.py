"""What a search returns of each match: PS3.18 10.6.3.3, Tables 10.6.3-3 to -5."""

import pytest

from tests.conformance.rows import cites, row
from tests.conformance.searching import fill, params, search
from tests.making import a_data_set, a_file

STUDY, SERIES, INSTANCE = "PS3.18 Table 10.6.3-3", "PS3.18 Table 10.6.3-4", "PS3.18 Table 10.6.3-5"
FIELDS = "PS3.18 8.3.4.3 includefield"


@pytest.fixture
def library(site):
    return fill(site)


def matches(library, path, asked=""):
    response = search(library, path, *params(asked))
    assert response.status_code == 200, response.text
    return response.json()


def first(library, path, asked=""):
    return matches(library, path, asked)[0]


ROOT = "http://testserver/dicom-web/studies"
A_STUDY = [
    ("00080005", "CS", ["ISO_IR 192"]),
    ("00080020", "DA", ["20240115"]),
    ("00080030", "TM", ["101530.5"]),
    ("00080050", "SH", ["A1"]),
    ("00080056", "CS", ["ONLINE"]),
    ("00080061", "CS", ["CT", "SR"]),
    ("00080090", "PN", [{"Alphabetic": "Ref^Doc"}]),
    ("00081190", "UR", [f"{ROOT}/1.1"]),
    ("00100010", "PN", [{"Alphabetic": "Müller^Jürgen"}]),
    ("00100020", "LO", ["P1"]),
    ("00100030", "DA", ["19700203"]),
    ("00100040", "CS", ["M"]),
    ("0020000D", "UI", ["1.1"]),
    ("00200010", "SH", ["S1"]),
    ("00201206", "IS", [2]),
    ("00201208", "IS", [3]),
]
A_SERIES = [
    ("00080060", "CS", ["CT"]),
    ("0008103E", "LO", ["AXIAL"]),
    ("00081190", "UR", [f"{ROOT}/1.1/series/1.1.1"]),
    ("0020000E", "UI", ["1.1.1"]),
    ("00200011", "IS", [2]),
    ("00201209", "IS", [2]),
    ("00400244", "DA", ["20240115"]),
    ("00400245", "TM", ["1010"]),
]
AN_INSTANCE = [
    ("00080016", "UI", ["1.2.840.10008.5.1.4.1.1.2"]),
    ("00080018", "UI", ["1.1.1.2"]),
    ("00080056", "CS", ["ONLINE"]),
    ("00081190", "UR", [f"{ROOT}/1.1/series/1.1.1/instances/1.1.1.2"]),
    ("00200013", "IS", [1]),
    ("00280010", "US", [4]),
    ("00280011", "US", [4]),
    ("00280100", "US", [16]),
]
VALUES = [
    *(row(STUDY, tag, "/studies", "PatientID=P1", tag, vr, value) for tag, vr, value in A_STUDY),
    *(row(SERIES, tag, "/series", "Modality=CT", tag, vr, value) for tag, vr, value in A_SERIES),
    *(
        row(INSTANCE, tag, "/instances", "SOPInstanceUID=1.1.1.2", tag, vr, value)
        for tag, vr, value in AN_INSTANCE
    ),
    row(INSTANCE, "frames where there are some", "/instances", "Modality=MR", "00280008", "IS", [1]),
    row(STUDY, "the zone of its dates", "/studies", "StudyID=10", "00080201", "SH", ["-0500"]),
    row(SERIES, "the zone of its dates", "/studies/1.4/series", "", "00080201", "SH", ["-0500"]),
    row(
        INSTANCE,
        "the zone of its dates",
        "/studies/1.4/series/1.4.1/instances",
        "",
        "00080201",
        "SH",
        ["-0500"],
    ),
    row(
        STUDY,
        "counts are of all instances",
        "/studies",
        "0020000D=1.1; StudyTime=-2300",
        "00201208",
        "IS",
        [3],
    ),
    row(SERIES, "counts are of all instances", "/series", "0020000E=1.1.1", "00201209", "IS", [2]),
    row("PS3.18 10.6.3.3", "a series tells of its study", "/series", "Modality=SR", "00100020", "LO", ["P1"]),
    row("Orthanc, OHIF", "a study's series tell of it", "/studies/1.1/series", "", "0020000D", "UI", ["1.1"]),
    row(
        "PS3.18 10.6.3.3",
        "instances tell of their series",
        "/instances",
        "Modality=SR",
        "00080060",
        "CS",
        ["SR"],
    ),
    row("PS3.18 10.6.3.3", "and of their study", "/instances", "Modality=SR", "00080050", "SH", ["A1"]),
    row(
        "PS3.18 10.6.3.3",
        "a study's instances, of their series",
        "/studies/1.2/instances",
        "",
        "00080060",
        "CS",
        ["MR"],
    ),
    row("Weasis", "a study's instances name it", "/studies/1.2/instances", "", "0020000D", "UI", ["1.2"]),
    row(
        "Weasis",
        "a series' instances name it",
        "/studies/1.2/series/1.2.1/instances",
        "",
        "0020000E",
        "UI",
        ["1.2.1"],
    ),
    # -- what was asked for --
    row(
        "PS3.18 10.6.3.3",
        "keys are returned",
        "/studies",
        "InstitutionName=Hosp*",
        "00080080",
        "LO",
        ["Hospital"],
    ),
    row(
        "PS3.4 C.2.2.2.3",
        "universal keys are returned",
        "/studies",
        "0020000D=1.1; 00080080=",
        "00080080",
        "LO",
        ["Hospital"],
    ),
    row(
        "PS3.18 10.6.3.3",
        "higher keys in a scope",
        "/studies/1.1/series/1.1.1/instances",
        "PatientID=P1",
        "00100020",
        "LO",
        ["P1"],
    ),
    row(
        FIELDS,
        "by keyword",
        "/studies",
        "0020000D=1.1; includefield=InstitutionName",
        "00080080",
        "LO",
        ["Hospital"],
    ),
    row(FIELDS, "by tag", "/studies", "0020000D=1.1; includefield=00080080", "00080080", "LO", ["Hospital"]),
    row(
        "several vendors",
        "includeField",
        "/studies",
        "0020000D=1.1; includeField=00080080",
        "00080080",
        "LO",
        ["Hospital"],
    ),
    row(
        FIELDS,
        "in a list",
        "/series",
        "Modality=CT; includefield=00080080,BodyPartExamined",
        "00180015",
        "CS",
        ["CHEST"],
    ),
    row(
        FIELDS,
        "repeated",
        "/series",
        "Modality=CT; includefield=00080080; includefield=00185100",
        "00185100",
        "CS",
        ["HFS"],
    ),
    row(
        FIELDS,
        "of the documents",
        "/studies/1.1/series/1.1.1/instances",
        "includefield=SliceThickness",
        "00180050",
        "DS",
        [2.5],
    ),
    row(
        FIELDS,
        "of higher levels",
        "/studies/1.1/series/1.1.1/instances",
        "includefield=Modality",
        "00080060",
        "CS",
        ["CT"],
    ),
    row(
        FIELDS,
        "counts of higher levels",
        "/studies/1.1/series/1.1.1/instances",
        "includefield=00201208",
        "00201208",
        "IS",
        [3],
    ),
    row(
        FIELDS,
        "computed ones",
        "/studies",
        "0020000D=1.2; includefield=00080062",
        "00080062",
        "UI",
        ["1.2.840.10008.5.1.4.1.1.4"],
    ),
    row(
        FIELDS,
        "unknown ones are passed over",
        "/studies",
        "0020000D=1.1; includefield=Nonsense,00080080",
        "00080080",
        "LO",
        ["Hospital"],
    ),
    row(FIELDS, "all", "/instances", "SOPInstanceUID=1.1.1.1; includefield=all", "00180050", "DS", [2.5]),
    row(
        FIELDS,
        "all beside others is all",
        "/instances",
        "SOPInstanceUID=1.1.1.1; includefield=all,Rows",
        "00180050",
        "DS",
        [2.5],
    ),
    row(
        "PS3.18 8.3.1",
        "private attributes by their creator",
        "/studies/1.1/series/1.1.1/instances",
        "00090010=OTHER; includefield=00091001",
        "00091101",
        "LO",
        ["of others"],
    ),
    row(
        "PS3.18 8.3.1",
        "with the creator where it stands",
        "/studies/1.1/series/1.1.1/instances",
        "00090010=OTHER; includefield=00091001",
        "00090011",
        "LO",
        ["OTHER"],
    ),
    row(
        "a peer's practice",
        "private attributes without their creator",
        "/studies/1.1/series/1.1.1/instances",
        "includefield=00091001",
        "00091001",
        "LO",
        ["of acme"],
    ),
    row(
        FIELDS,
        "text beyond ASCII is labelled",
        "/studies",
        "00100010=Гус*; includefield=all",
        "00080005",
        "CS",
        ["ISO_IR 192"],
    ),
]


@pytest.mark.parametrize(("path", "asked", "tag", "vr", "value"), VALUES)
def test_a_match_has_an_attribute(library, path, asked, tag, vr, value):
    found = first(library, path, asked)

    assert list(found) == sorted(found)
    assert found[tag] == {"vr": vr, "Value": value}


@pytest.mark.parametrize(
    ("path", "asked", "tag"),
    [
        row(
            FIELDS,
            "attributes of series",
            "/studies",
            "0020000D=1.1; includefield=Modality,00185100",
            "00080060",
        ),
        row(
            FIELDS,
            "other attributes of series",
            "/studies",
            "0020000D=1.1; includefield=00185100",
            "00185100",
        ),
        row(FIELDS, "attributes of instances", "/studies", "0020000D=1.1; includefield=Rows", "00280010"),
        row(
            FIELDS,
            "attributes of instances on series",
            "/series",
            "Modality=CT; includefield=00180050",
            "00180050",
        ),
        row(
            FIELDS, "all is of the level and above", "/studies", "0020000D=1.1; includefield=all", "00180050"
        ),
        row(STUDY, "conditional ones that are not known", "/studies", "0020000D=1.1", "00080201"),
        row(SERIES, "conditional ones that are not known", "/series", "Modality=MR", "0008103E"),
        row(INSTANCE, "conditional ones that are not known", "/instances", "Modality=SR", "00280010"),
        row(STUDY, "nothing else", "/studies", "0020000D=1.1", "00080080"),
        row(STUDY, "the character set of ASCII", "/studies", "0020000D=1.3", "00080005"),
        row(
            "PS3.18 10.6.3.3",
            "the study of a series' instances",
            "/studies/1.1/series/1.1.1/instances",
            "",
            "00100010",
        ),
        row(
            "PS3.18 8.3.1",
            "private attributes of a creator that is not there",
            "/studies/1.1/series/1.1.1/instances",
            "00090010=NOBODY; includefield=00091001",
            "00091001",
        ),
        row("PS3.18 10.6.3.3", "pixel data, unless asked for", "/instances", "Modality=MR", "7FE00010"),
    ],
)
def test_a_match_has_it_not(library, path, asked, tag):
    assert tag not in first(library, path, asked)


@pytest.mark.parametrize(
    ("path", "asked", "tags"),
    [
        row(
            STUDY,
            "required ones without value are empty",
            "/studies",
            "0020000D=1.3",
            "00080020 00080030 00080050 00080061 00080090 00100010 00100020 00100030 00100040 00200010",
        ),
        row(SERIES, "required ones without value are empty", "/series", "0020000D=1.3", "00080060 00200011"),
        row(INSTANCE, "required ones without value are empty", "/instances", "0020000D=1.3", "00200013"),
    ],
)
def test_what_has_no_value_is_empty(library, path, asked, tags):
    found = first(library, path, asked)

    assert [tag for tag in tags.split() if list(found.get(tag, {})) != ["vr"]] == []


@cites(SERIES, "Request Attributes Sequence has its two identifiers")
def test_the_requests_of_a_series(library):
    items = first(library, "/series", "Modality=CT")["00400275"]["Value"]

    assert [[item["00400009"]["Value"], item["00401001"]["Value"]] for item in items] == [
        [["SPS1"], ["RP1"]],
        [["SPS2"], ["RP2"]],
    ]


@pytest.mark.parametrize(
    "field",
    [
        row(FIELDS, "a sequence", "RequestAttributesSequence"),
        row(FIELDS, "a path into a sequence", "RequestAttributesSequence.ScheduledProcedureStepID"),
        row(FIELDS, "a path in tags", "00400275.00400009"),
    ],
)
def test_an_included_sequence_has_its_items(library, field):
    found = first(library, "/studies/1.1/series/1.1.1/instances", f"includefield={field}")

    assert len(found["00400275"]["Value"]) == 2
    assert found["00400275"]["Value"][0]["00400009"]["Value"] == ["SPS1"]


@cites("PS3.4 C.6.1.1.5.2", "the stored transfer syntax comes first, and what needs no loss")
def test_the_available_transfer_syntaxes(library):
    syntaxes = first(library, "/instances", "Modality=MR")["00083002"]

    assert syntaxes["vr"] == "UI"
    assert syntaxes["Value"][0] == "1.2.840.10008.1.2.1"


@cites("PS3.18 10.6.3.3", "bulk data are referred to where an instance returns everything")
def test_bulk_data_of_a_match(library):
    found = first(library, "/instances", "SOPInstanceUID=1.1.1.1; includefield=all")

    uri = found["7FE00010"]["BulkDataURI"]
    assert uri.startswith(f"{ROOT}/1.1/series/1.1.1/instances/1.1.1.1/")
    assert library.get(uri).status_code == 200


@cites("PS3.18 10.6.3.3", "text of any characters comes as it is, those too that no script has")
@pytest.mark.parametrize("text", ["\ufdd0", "a \ufdd0\ufffe\U0010ffff b", "\ufffd"])
def test_text_of_a_match_is_nothing_else(site, text):
    made = a_data_set(SpecificCharacterSet="ISO_IR 192", PatientComments=text)
    assert site.post(a_file(made)).status_code == 200

    found = first(site, "/instances", "includefield=PatientComments")

    assert found["00104000"] == {"vr": "LT", "Value": [text]}


@cites("PS3.18 10.6.3.3", "names have their groups")
def test_the_groups_of_a_name(library):
    name = first(library, "/studies", "0020000D=1.2")["00100010"]

    groups = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert name == {"vr": "PN", "Value": [groups]}
