"""What another transfer syntax changes in the data set around the frames."""

from typing import Any

import pytest

from service.dicom.errors import Undecodable
from service.dicom.resource import is_uid
from service.dicom.syntaxes import ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, ROOT
from service.pixels.attributes import Attributes
from service.pixels.changes import Change, Compression, changes, derived_uid, pixel_data_vr, shape_of
from service.pixels.frame import FrameShape
from service.pixels.plan import plan

MODALITY_LOSSLESS = ROOT + ".4.90"
BASELINE = ROOT + ".4.50"
SMALL = Compression(quality=90, near=2, native_size=300_000, encoded_size=30_000)


def image(**members: list[Any]) -> Attributes:
    vrs = {"0008": "CS", "0028": "US", "7FE0": "OV"}
    document = {
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "AXIAL"]},
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00280002": {"vr": "US", "Value": [3]},
        "00280004": {"vr": "CS", "Value": ["RGB"]},
        "00280006": {"vr": "US", "Value": [0]},
        "00280010": {"vr": "US", "Value": [48]},
        "00280011": {"vr": "US", "Value": [62]},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]},
        "00280102": {"vr": "US", "Value": [7]},
        "00280103": {"vr": "US", "Value": [0]},
    }
    for key, values in members.items():
        tag = key.removeprefix("t")
        document[tag] = {"vr": vrs.get(tag[:4], "LO"), "Value": values}
    return Attributes(document)


def changed(attributes: Attributes, stored: str, asked: str, **made: Any) -> dict[int, Change]:
    before = shape_of(attributes)
    decision = plan(stored, before, asked)
    after = before.becoming(**made)
    return changes(attributes, stored, after, decision, SMALL if decision.loses else None)


def test_the_shape_is_read_from_the_image_pixel_module():
    assert shape_of(image()) == FrameShape(48, 62, 3, 8, 8, 7, False, "RGB")


def test_float_pixel_data_have_the_bits_of_their_kind():
    attributes = Attributes(
        {
            "00280010": {"vr": "US", "Value": [4]},
            "00280011": {"vr": "US", "Value": [5]},
            "7FE00009": {"vr": "OD", "BulkDataURI": "x"},
        }
    )

    shape = shape_of(attributes)

    assert (shape.floating, shape.bits_allocated, shape.native_bytes) == (True, 64, 160)


def test_without_a_size_there_is_no_shape():
    with pytest.raises(Undecodable):
        shape_of(Attributes({}))


def test_what_passes_changes_nothing():
    assert changed(image(), MODALITY_LOSSLESS, MODALITY_LOSSLESS) == {}


def test_a_component_transformation_is_said():
    assert changed(image(), EXPLICIT_LE, MODALITY_LOSSLESS, photometric="YBR_RCT") == {
        0x00280004: ("CS", ["YBR_RCT"])
    }


def test_planes_put_in_order_and_a_high_bit_moved_are_said():
    attributes = image(t00280006=[1], t00280100=[16], t00280101=[12], t00280102=[15])

    made = changed(attributes, EXPLICIT_LE, MODALITY_LOSSLESS, planar=0)

    assert made == {0x00280006: ("US", [0]), 0x00280102: ("US", [11])}


def test_between_native_syntaxes_the_bits_stay_where_they_are():
    attributes = image(t00280100=[16], t00280101=[12], t00280102=[15])

    assert changed(attributes, EXPLICIT_LE, ENCAPSULATED_UNCOMPRESSED) == {}


def test_offset_tables_padding_and_signatures_go():
    attributes = image(t7FE00001=[0], t7FE00002=[10], tFFFCFFFC=["x"], tFFFAFFFA=[{}], t4FFE0001=[{}])

    made = changed(attributes, MODALITY_LOSSLESS, EXPLICIT_LE)

    gone = {0x7FE00001, 0x7FE00002, 0xFFFCFFFC, 0xFFFAFFFA, 0x4FFE0001}
    assert {tag for tag, change in made.items() if change is None} == gone


def test_what_was_compressed_with_loss_stays_known_as_that():
    made = changed(image(t00280004=["YBR_FULL_422"]), BASELINE, EXPLICIT_LE, photometric="RGB")

    assert made[0x00282110] == ("CS", ["01"])
    assert made[0x00282114] == ("CS", ["ISO_10918_1"])
    assert 0x00080018 not in made


def test_a_lossy_copy_is_a_derived_image_with_a_uid_of_its_own():
    attributes = image(t00282112=[4], t00282114=["ISO_15444_1"], t00280106=[0])

    made = changed(attributes, EXPLICIT_LE, BASELINE, photometric="YBR_FULL_422")

    assert made[0x00080008] == ("CS", ["DERIVED", "PRIMARY", "AXIAL"])
    assert made[0x00282110] == ("CS", ["01"])
    assert made[0x00282112] == ("DS", [4, 10.0])
    assert made[0x00282114] == ("CS", ["ISO_15444_1", "ISO_10918_1"])
    assert made[0x00280004] == ("CS", ["YBR_FULL_422"])
    assert made[0x00280106] is None
    assert made[0x00080018] == ("UI", [derived_uid("1.2.3.4", BASELINE, 90, 2)])
    source, code = made[0x00082112], made[0x00089215]
    assert source is not None and code is not None
    assert source[1][0]["00081155"]["Value"] == ["1.2.3.4"]
    assert source[1][0]["0040A170"]["Value"][0]["00080100"]["Value"] == ["121320"]
    assert code[1][0]["00080100"]["Value"] == ["113040"]


def test_a_lossy_plan_without_its_numbers_is_a_mistake():
    before = shape_of(image())
    with pytest.raises(ValueError):
        changes(image(), EXPLICIT_LE, before, plan(EXPLICIT_LE, before, BASELINE))


def test_derived_uids_are_the_same_for_the_same_request_only():
    uid = derived_uid("1.2.3", BASELINE, 90, 2)

    assert uid == derived_uid("1.2.3", BASELINE, 90, 5)  # which means nothing to JPEG
    assert is_uid(uid) and uid.startswith("2.25.") and len(uid) <= 64
    others = {
        derived_uid("1.2.4", BASELINE, 90, 2),
        derived_uid("1.2.3", BASELINE, 91, 2),
        derived_uid("1.2.3", ROOT + ".4.91", 90, 2),
        derived_uid("1.2.3", ROOT + ".4.81", 90, 2),
        derived_uid("1.2.3", ROOT + ".4.81", 90, 3),
    }
    assert len(others) == 5 and uid not in others


def test_pixel_data_are_octets_when_encapsulated_or_narrow():
    words = FrameShape(1, 1, 1, 16, 12, 11, False, "MONOCHROME2")

    assert pixel_data_vr(EXPLICIT_LE, words) == "OW"
    assert pixel_data_vr(EXPLICIT_LE, words.becoming(bits_allocated=8)) == "OB"
    assert pixel_data_vr(ENCAPSULATED_UNCOMPRESSED, words) == "OB"
