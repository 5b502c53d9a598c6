"""The DICOM JSON model: what an object is made of, what is inline and what is to be fetched (annex F)."""

import base64
import json
import math
import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.conformance.rows import cites, row
from tests.elements import element, file_of, implicit, item, sequence, text
from tests.keeping import object_of, path_of, written
from tests.making import CT, a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import parts_of

CREATOR = element(0x00090010, "LO", b"ROWS")
TAG, KEY = 0x00091001, "00091001"
BINARIES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        row("PS3.18 F.2.6", "a number that is not finite is to be fetched", vr, struct.pack(code, *numbers))
        for vr, code, numbers in (
            ("FD", "<2d", (1.0, math.nan)),
            ("FD", "<d", (math.inf,)),
            ("FD", "<d", (-math.inf,)),
            ("FL", "<f", (math.nan,)),
            ("FL", "<2f", (math.inf, 2.0)),
        )
    ],
)
def test_numbers_that_are_not_finite_are_bulk_data(site, vr, value):
    found = object_of(site, file_of(CREATOR, element(TAG, vr, value)))[KEY]
    assert set(found) == {"vr", "BulkDataURI"}
    assert site.get(found["BulkDataURI"], "application/octet-stream").content == value


@pytest.mark.parametrize(
    "vr", [row("PS3.18 F.2.7", f"{vr}: one base64 of the whole, or a URI when long", vr) for vr in BINARIES]
)
def test_binaries_up_to_1024_bytes_are_inline(site, vr):
    short, long = bytes(range(256)) * 4, bytes(range(256)) * 4 + bytes(8)
    found = object_of(
        site, file_of(CREATOR, element(TAG, vr, short), element(TAG + 1, vr, long), element(TAG + 2, vr, b""))
    )
    assert found[KEY] == {"vr": vr, "InlineBinary": base64.b64encode(short).decode()}
    assert set(found["00091002"]) == {"vr", "BulkDataURI"}
    assert found["00091003"] == {"vr": vr}
    assert site.get(found["00091002"]["BulkDataURI"], "application/octet-stream").content == long


@cites("PS3.18 F.2.6", "a BulkDataURI inside of sequences leads to the value")
def test_bulk_data_inside_of_sequences_can_be_fetched(site):
    values = [bytes([number]) * 2000 for number in range(3)]
    inner = [
        item(element(0x00090010, "LO", b"IN") + element(TAG, "OB", value), defined=False) for value in values
    ]
    nested = sequence(0x00081140, item(sequence(0x00081199, *inner, defined=False)))
    found = object_of(site, file_of(nested))
    items = found["00081140"]["Value"][0]["00081199"]["Value"]
    uris = [one[KEY]["BulkDataURI"] for one in items]
    assert [site.get(uri, "application/octet-stream").content for uri in uris] == values
    assert uris[1].endswith("/bulkdata/00081140/1/00081199/2/00091001")


@cites("spec 7", "PixelData is always BulkDataURI, never inline, however small")
@pytest.mark.parametrize(
    ("syntax", "codestreams", "vr"),
    [
        (EXPLICIT_LE, None, "OW"),
        (IMPLICIT_LE, None, "OW"),
        ("1.2.840.10008.1.2.4.50", [b"\xff\xd8\xff\xd9"], "OB"),
    ],
)
def test_pixel_data_are_to_be_fetched(site, syntax, codestreams, vr):
    made = add_pixels(a_data_set(), [bytes(2)], rows=1, columns=1)
    path = path_of(site, a_file(made, syntax, codestreams=codestreams))
    (found,) = site.get(path + "/metadata").json()
    assert found["7FE00010"] == {
        "vr": vr,
        "BulkDataURI": f"http://testserver/dicom-web{path}/bulkdata/7FE00010",
    }


@cites("spec 7", "LUT descriptors are always inline, and their ends never negative")
def test_lookup_tables(site):
    made = a_data_set(PixelRepresentation=1)
    found = object_of(
        site,
        file_of(
            element(0x00280103, "US", b"\1\0"),
            element(0x00281101, "SS", struct.pack("<HhH", 40000, -5, 16)),
            element(0x00281201, "OW", bytes(512)),
        ),
    )
    assert made.PixelRepresentation == 1
    assert found["00281101"] == {"vr": "SS", "Value": [40000, -5, 16]}
    assert set(found["00281201"]) == {"vr", "InlineBinary"}


@cites("client OHIF", "what describes the image is inline, also where there are many frames")
def test_what_viewers_read_is_inline(site):
    made = add_pixels(a_data_set(PixelSpacing=["0.5", "0.5"]), [bytes(32)] * 50)
    made.PerFrameFunctionalGroupsSequence = []
    for number in range(50):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = ["0", "0.50", f"{number}.0"]
        frame.PlanePositionSequence = [place]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    made.FrameTimeVector = ["40"] * 2000
    found = object_of(site, a_file(made))
    for keyword in ("NumberOfFrames", "SOPClassUID", "Rows", "Columns", "PixelSpacing", "InstanceNumber"):
        assert "Value" in found[f"{int(Tag(keyword)):08X}"], keyword
    assert len(found["00181065"]["Value"]) == 2000
    positions = [one["00209113"]["Value"][0]["00200032"]["Value"] for one in found["52009230"]["Value"]]
    assert positions == [[0, 0.5, number] for number in range(50)]


@cites("spec 7", "text and numbers over 64 KiB may be a BulkDataURI; what viewers read stays inline")
def test_long_text_is_to_be_fetched(site):
    long = b"a" * (64 << 10) + b"bb"
    found = object_of(
        site, file_of(CREATOR, element(TAG, "UT", long), element(TAG + 1, "UT", long[: 64 << 10]))
    )
    assert set(found[KEY]) == {"vr", "BulkDataURI"}
    assert site.get(found[KEY]["BulkDataURI"], "application/octet-stream").content == long
    assert found["00091002"]["Value"] == ["a" * (64 << 10)]


@cites("PS3.5 6.2.2", "UN of undefined length is a sequence in implicit VR, read as one")
def test_unknown_of_undefined_length_is_a_sequence(site):
    inner = implicit(0x00100020, b"P1") + implicit(0x00280010, b"\7\0")
    unknown = sequence(TAG, item(inner, defined=False), item(b""), defined=False, vr="UN")
    found = object_of(site, file_of(CREATOR, unknown))[KEY]
    assert found == {
        "vr": "SQ",
        "Value": [
            {"00100020": {"vr": "LO", "Value": ["P1"]}, "00280010": {"vr": "US", "Value": [7]}},
            {},
        ],
    }


@cites("spec 10", "an unknown VR of a known attribute is that of the dictionary, else UN")
def test_unknown_of_a_known_attribute(site):
    found = object_of(
        site,
        file_of(
            element(0x00100020, "UN", b"P1"), element(TAG, "UN", b"P1"), element(0x00280010, "UN", b"\7\0")
        ),
    )
    assert found["00100020"] == {"vr": "LO", "Value": ["P1"]}
    assert found["00280010"] == {"vr": "US", "Value": [7]}
    assert found[KEY] == {"vr": "UN", "InlineBinary": "UDE="}


@cites("spec 10", "private blocks keep their numbers, with the element of their creator")
def test_private_blocks_keep_their_numbers(site):
    found = object_of(
        site,
        file_of(
            element(0x00090010, "LO", text("FIRST")),
            element(0x00090011, "LO", text("SECOND")),
            element(0x000900FF, "LO", text("LAST")),
            element(0x00091001, "SH", b"1 "),
            element(0x00091101, "SH", b"2 "),
            element(0x0009FF01, "SH", b"3 "),
        ),
    )
    mine = {key: one["Value"][0] for key, one in found.items() if key.startswith("0009")}
    assert mine == {
        "00090010": "FIRST",
        "00090011": "SECOND",
        "000900FF": "LAST",
        "00091001": "1",
        "00091101": "2",
        "0009FF01": "3",
    }


@cites("PS3.18 F.2.2", "group lengths are not in it, nor is group 0002")
def test_group_lengths_and_file_meta_information_are_absent(site):
    nested = sequence(
        0x00081140, item(element(0x00080000, "UL", bytes(4)) + element(0x00080050, "SH", b"A1"))
    )
    found = object_of(site, file_of(element(0x00080000, "UL", bytes(4)), CREATOR[:0] + nested))
    assert not [key for key in found if key.endswith("0000") or key.startswith("0002")]
    assert found["00081140"]["Value"] == [{"00080050": {"vr": "SH", "Value": ["A1"]}}]


@cites("PS3.18 F.2.2", "eight upper-case digits, in ascending order, in items too")
def test_keys_ascend(site):
    shuffled = sequence(0x00081140, item(element(0x00100020, "LO", b"P1") + element(0x00080050, "SH", b"A1")))
    content = file_of(
        element(0x7FE10010, "LO", b"LATE"),
        element(0x00100010, "PN", b"A "),
        shuffled,
        element(0x0009000A, "UN", b""),
        ordered=False,
    )
    pairs = json.loads(written(site, content), object_pairs_hook=list)
    found = [key for key, _ in pairs[0]]
    assert found == sorted(found)
    assert all(len(key) == 8 and key == key.upper() for key in found)
    (members,) = dict(dict(pairs[0])["00081140"])["Value"]
    assert [key for key, _ in members] == ["00080050", "00100020"]


@cites("PS3.18 F.2.2", "vr always, and at most one of Value, BulkDataURI and InlineBinary")
def test_every_attribute_has_its_vr_and_one_form(site, real_data):
    for name in ("sr/sr.dcm", "rt/rtplan.dcm", "studies/seg-ct3/liver.dcm"):
        if not (real_data / name).exists():
            continue
        check(object_of(site, (real_data / name).read_bytes()))


def check(found: dict[str, Any]) -> None:
    for key, attribute in found.items():
        assert next(iter(attribute)) == "vr", key
        assert len(attribute) <= 2, key
        assert set(attribute) <= {"vr", "Value", "BulkDataURI", "InlineBinary"}, key
        assert attribute.get("Value") != [], key
        if attribute["vr"] == "SQ":
            for one in attribute.get("Value", []):
                check(one)


SYNTAXES = [
    row("PS3.4 C.6.1.1.5.2", "as stored, where that may be sent", EXPLICIT_LE, EXPLICIT_LE),
    row("PS3.18 8.7.3.5.2", "Implicit VR Little Endian is never sent", IMPLICIT_LE, EXPLICIT_LE),
    row("PS3.18 8.7.3.5.2", "Explicit VR Big Endian is never sent", EXPLICIT_BE, EXPLICIT_LE),
    row("PS3.18 8.7.3.5.2", "deflated objects leave inflated", DEFLATED, EXPLICIT_LE),
]


@pytest.mark.parametrize(("stored", "preferred"), SYNTAXES)
def test_the_syntaxes_that_an_instance_is_available_in_are_told(site, stored, preferred):
    found = object_of(site, a_ct(syntax=stored))["00083002"]
    assert found["vr"] == "UI"
    assert found["Value"][0] == preferred
    assert not {IMPLICIT_LE, EXPLICIT_BE} & set(found["Value"])
    assert set(found["Value"]) <= set(BY_UID)


@pytest.mark.parametrize(
    "syntax",
    [
        row("spec 10", f"values are the same in {name}", uid)
        for name, uid in (("implicit VR", IMPLICIT_LE), ("big endian", EXPLICIT_BE), ("deflated", DEFLATED))
    ],
)
def test_the_model_does_not_depend_on_the_transfer_syntax(open_site, syntax):
    uids = {"study": "1.2.3", "series": "1.2.4", "instance": "1.2.5"}
    fields: dict[str, Any] = {
        **uids,
        "SliceThickness": "0.10",
        "ImagePositionPatient": ["1", "-2.50", "3e2"],
        "FrameIncrementPointer": 0x00181063,
        "PatientName": "A^B=C",
        "ReferencedImageSequence": [a_data_set(**uids)],
        "RedPaletteColorLookupTableData": bytes(range(8)),
    }
    one, other = (
        object_of(open_site(), a_file(a_data_set(**fields), which)) for which in (EXPLICIT_LE, syntax)
    )
    for found in (one, other):
        del found["00083002"]
    if syntax == EXPLICIT_BE:  # the words of OW are turned, so that they are little endian in the answer
        given = base64.b64decode(one["00281201"].pop("InlineBinary"))
        turned = base64.b64decode(other["00281201"].pop("InlineBinary"))
        assert turned == b"".join(given[at : at + 2][::-1] for at in range(0, len(given), 2))
    assert one == other


@cites("PS3.18 F.2.1", "several results are one array, one object each, even for one instance")
def test_one_array_for_all(site):
    study = "1.2.3.4"
    path_of(site, a_ct(study=study))
    assert isinstance(site.get(f"/studies/{study}/metadata").json(), list)
    path_of(site, a_ct(study=study))
    assert len(site.get(f"/studies/{study}/metadata").json()) == 2


@cites("PS3.18 F.2.1", "the answer to a store request is one object")
def test_a_store_response_is_one_object(site):
    assert isinstance(site.post(a_ct()).json(), dict)


@cites("PS3.18 F.2", "UTF-8, without a byte order mark; control characters escaped")
def test_the_text_is_utf_8(site):
    made = file_of(
        element(0x00080005, "CS", b"ISO_IR 100"), element(0x00104000, "LT", b'J\xe9r\xf4me \x1b\x01"\\')
    )
    body = written(site, made).encode()
    assert body.startswith(b'[{"00080005"')
    assert "Jérôme".encode() in body
    assert not set(range(32)) & set(body)
    assert json.loads(body)[0]["00104000"]["Value"] == ['Jérôme \x1b\x01"\\']


@cites("spec 10", "what is too long or invalid for its VR is passed through")
def test_values_that_break_their_rules_are_passed_on(site):
    found = object_of(
        site,
        file_of(
            element(0x00080050, "SH", b"x" * 100),
            element(0x00080020, "DA", b"31/01/2024"),
            element(0x00080060, "CS", b"lower case"),
            element(0x00201208, "IS", text("many")),
        ),
    )
    assert found["00080050"]["Value"] == ["x" * 100]
    assert found["00080020"]["Value"] == ["31/01/2024"]
    assert found["00080060"]["Value"] == ["lower case"]
    assert found["00201208"]["Value"] == ["many"]


@cites("spec 10", "input: lower-case tags, a scalar Value, numbers for strings, InlineBinary")
def test_json_that_comes_in_may_be_careless(site):
    document = {
        "00080016": {"vr": "UI", "Value": "1.2.840.10008.5.1.4.1.1.7"},
        "00080018": {"vr": "UI", "Value": ["1.2.3.77"]},
        "0020000d": {"vr": "UI", "Value": ["1.2.3.78"]},
        "0020000e": {"vr": "UI", "Value": ["1.2.3.79"]},
        "00200010": {"vr": "SH", "Value": [7]},
        "00180050": {"vr": "DS", "Value": ["0.10"]},
        "00280010": {"vr": "US", "Value": ["3"]},
        "00420011": {"vr": "OB", "InlineBinary": "AQID"},
    }
    body = (
        b"--b\r\nContent-Type: application/dicom+json\r\n\r\n"
        + json.dumps([document]).encode()
        + b"\r\n--b--"
    )
    stored = site.post(body, 'multipart/related; type="application/dicom+json"; boundary=b')
    assert stored.status_code == 200, stored.text
    found = site.get("/studies/1.2.3.78/metadata").text
    assert '"00200010":{"vr":"SH","Value":["7"]}' in found
    assert '"00180050":{"vr":"DS","Value":[0.10]}' in found
    assert '"00280010":{"vr":"US","Value":[3]}' in found
    assert '"00420011":{"vr":"OB","InlineBinary":"AQIDAA=="}' in found


@cites("spec 10", "input: the words NaN, Infinity and -Infinity, quoted or bare")
@pytest.mark.parametrize("words", ['"NaN", "Infinity", "-Infinity"', "NaN, Infinity, -Infinity"])
def test_numbers_that_are_not_finite_can_be_stored(site, words):
    uids = {"00080016": CT, "00080018": new_uid(), "0020000D": new_uid(), "0020000E": new_uid()}
    members = [f'"{tag}":{{"vr":"UI","Value":["{value}"]}}' for tag, value in uids.items()]
    members.append(f'"00189087":{{"vr":"FD","Value":[1.5, {words}]}}')
    document = ("[{" + ",".join(members) + "}]").encode()
    body = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + document + b"\r\n--b--"
    stored = site.post(body, 'multipart/related; type="application/dicom+json"; boundary=b')
    assert stored.status_code == 200, stored.text
    (found,) = site.get(f"/studies/{uids['0020000D']}/metadata").json()
    value = site.get(found["00189087"]["BulkDataURI"], "application/octet-stream").content
    assert repr(struct.unpack("<4d", value)) == "(1.5, nan, inf, -inf)"


@cites("PS3.18 F.2.6", "a URI in the metadata leads to the parts that the resource has")
def test_every_uri_can_be_fetched(site):
    path = path_of(site, a_ct([bytes(32), bytes(32)]))
    (found,) = site.get(path + "/metadata").json()
    answer = site.get(found["7FE00010"]["BulkDataURI"])
    assert answer.status_code == 200
    assert parts_of(answer)
