"""The whole way from stored pixels to a picture, against DCMTK on real files."""

import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.dicom.errors import BadRequest
from service.pixels.asking import Asked, read_rendered
from service.pixels.geometry import Region, Viewport
from service.pixels.render import picture_of, render, span_of
from service.pixels.voi import Window, window_of
from tests.pixels.pictures import RealImage, attributes_of, pixels_of, read_pnm
from tests.swiftness import spent_s

# Without embedded encodings DCMTK cannot decode; the tolerance of ±1 is for rounding, of ±2 for its colour.
AGAINST_DCMTK = (
    "ts/ct-family/CTImage_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm",
    "ts/ct-family/CTImage_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    "ts/ct-family/CTImage_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
    "ts/ct-family/CTImage_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
    "ts/mr-siemens-family/1.dcm",
    "ts/mr-siemens-family/6.dcm",
    "modality/dx/dx_image.dcm",
    "modality/pt/sample.dcm",
    "pixel/mlut_18.dcm",
    "pixel/vlut_04.dcm",
    "pixel/signed-raw-9bit.dcm",
    "pixel/examples_palette.dcm",
    "pixel/OT-PAL-8-face.dcm",
    "pixel/examples_rgb_color.dcm",
    "pixel/color-pl.dcm",
    "pixel/US-YBR_FULL_422-EVRLE.dcm",
    "pixel/ybrFull-RLE.dcm",
    "pixel/SC_rgb_16bit.dcm",
    "ts/rle/OBXXXX1A_rle.dcm",
    "ts/jpeg/SC_rgb_dcmtk_+eb+cr.dcm",
    "studies/seg-ct3/01.dcm",
    "studies/xa-ko/000000.dcm",
)


def shown_by_dcmtk(image: RealImage) -> np.ndarray:
    """The first frame as DCMTK shows it, with the same choice of window as ours."""
    jpeg = ".1.2.4." in image.dataset.file_meta.get("TransferSyntaxUID", "")
    command = ["dcmj2pnm" if jpeg else "dcm2pnm", "+F", "1", "+op"]
    if image.dataset.PhotometricInterpretation.startswith("MONOCHROME"):
        if window_of(image.attributes) is not None:
            command += ["+Wi", "1"]
        elif 0x00283010 in image.attributes:
            command += ["+Wl", "1"]
        elif image.dataset.BitsStored > 8:
            command += ["+Wm"]
    return read_pnm(subprocess.run([*command, str(image.path)], capture_output=True, check=True).stdout)


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="DCMTK is not installed.")
@pytest.mark.parametrize("path", AGAINST_DCMTK)
def test_real_images_are_as_dcmtk_shows_them(real_data, path):
    image = RealImage(real_data / path)
    picture = render(image.pixels(), image.attributes).image
    other = shown_by_dcmtk(image)
    assert picture.shape == other.shape
    tolerance = 2 if image.dataset.PhotometricInterpretation.startswith("YBR") else 1
    assert np.abs(picture.astype(int) - other).max() <= tolerance


def test_segments_are_white_on_black(real_data):
    image = RealImage(real_data / "studies/seg-ct3/liver.dcm")
    pixels = image.pixels(2)
    assert 0 < pixels.array.sum() < pixels.array.size
    assert np.array_equal(render(pixels, image.attributes, frame=2).image, pixels.array * 255)


def test_fractional_segments_are_as_bright_as_they_are_probable(real_data):
    image = RealImage(real_data / "seg/seg_image_ct_true_fractional.dcm")
    pixels = image.pixels(1)
    most = image.dataset.MaximumFractionalValue
    expected = pixels.array.astype(float) * 255 / most
    assert np.abs(render(pixels, image.attributes).image - expected).max() <= 0.5


def test_labels_are_spread_over_the_range_the_same_in_every_frame(real_data):
    image = RealImage(real_data / "seg/seg_image_sm_control_labelmap.dcm")
    most = max(segment.SegmentNumber for segment in image.dataset.SegmentSequence)
    for number in (1, 10):
        pixels = image.pixels(number)
        expected = np.floor(pixels.array * (255 / most) + 0.5)
        assert np.array_equal(render(pixels, image.attributes, frame=number).image, expected)


def test_the_asked_window_is_used(real_data):
    image = RealImage(real_data / AGAINST_DCMTK[0])
    pixels = image.pixels()
    asked = read_rendered([("window", "300,1,linear")])
    values = pixels.array + int(image.dataset.RescaleIntercept)
    picture = render(pixels, image.attributes, asked).image
    assert np.array_equal(picture == 255, values > 299.5)
    assert set(np.unique(picture)) == {0, 255}


def test_the_window_of_colour_is_passed_over():
    array = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    picture = render(pixels_of(array, "RGB"), attributes_of(Dataset()), Asked(window=Window(40, 400))).image
    assert np.array_equal(picture, array)


def test_a_viewport_scales_a_real_image(real_data):
    image = RealImage(real_data / AGAINST_DCMTK[0])
    pixels = image.pixels()
    whole = render(pixels, image.attributes).image.astype(float)
    small = render(pixels, image.attributes, Asked(viewport=Viewport(128, 200))).image
    assert small.shape == (128, 128)
    assert np.abs(small - whole.reshape(128, 4, 128, 4).mean(axis=(1, 3))).max() <= 0.51


def test_a_reduced_decoding_gives_the_same_picture_smaller(real_data):
    image = RealImage(real_data / AGAINST_DCMTK[0])
    pixels = image.pixels()
    halved = pixels_of(pixels.array.reshape(256, 2, 256, 2).mean(axis=(1, 3)).astype(np.int16))
    asked = Asked(viewport=Viewport(64, 64, Region(0, 0, 256, 256)))
    whole = render(pixels, image.attributes, asked).image.astype(int)
    assert np.abs(render(halved, image.attributes, asked).image - whole).mean() < 6


def test_a_region_outside_of_the_image_is_a_bad_request():
    asked = Asked(viewport=Viewport(8, 8, Region(100, 100)))
    with pytest.raises(BadRequest):
        render(pixels_of(np.zeros((8, 8), np.uint8)), attributes_of(Dataset()), asked)


def test_only_images_without_a_window_have_a_span(real_data):
    ct = RealImage(real_data / AGAINST_DCMTK[0])
    dose = RealImage(real_data / "rt/rtdose.dcm")
    assert (span_of(ct.pixels(), ct.attributes) is None) == (window_of(ct.attributes) is not None)
    array = dose.pixels(3).array
    assert span_of(dose.pixels(3), dose.attributes, 3) == (array.min(), array.max())


def test_frames_rendered_with_one_span_keep_their_relation(real_data):
    dose = RealImage(real_data / "rt/rtdose.dcm")
    spans = [span_of(dose.pixels(number), dose.attributes, number) for number in (1, 8)]
    span = (min(one[0] for one in spans if one), max(one[1] for one in spans if one))
    means = [render(dose.pixels(n), dose.attributes, frame=n, span=span).image.mean() for n in (1, 8)]
    raw = [dose.pixels(number).array.mean() for number in (1, 8)]
    assert (means[0] < means[1]) == (raw[0] < raw[1])
    assert means[0] != means[1]


def test_annotations_are_burned_into_their_corners(real_data):
    image = RealImage(real_data / "ts/mr-siemens-family/1.dcm")
    pixels = image.pixels()
    plain = render(pixels, image.attributes).image
    patient = render(pixels, image.attributes, Asked(annotation=("patient",))).image
    technique = render(pixels, image.attributes, Asked(annotation=("technique",))).image
    changed = np.argwhere(patient != plain)
    assert len(changed) and changed.max(axis=0)[0] < plain.shape[0] // 3
    changed = np.argwhere(technique != plain)
    assert len(changed) and changed.min(axis=0)[0] > plain.shape[0] // 2


def test_nothing_is_burned_in_unasked(real_data):
    image = RealImage(real_data / "ts/mr-siemens-family/1.dcm")
    plain = render(image.pixels(), image.attributes).image
    other = render(image.pixels(), attributes_of(without_names(image.dataset))).image
    assert np.array_equal(plain, other)


def without_names(made: Dataset) -> Dataset:
    bare = Dataset({tag: made[tag] for tag in list(made.keys()) if tag.group == 0x0028})
    bare.PatientName = "Somebody^Else"
    return bare


def test_a_ct_slice_takes_little_time(real_data):
    image = RealImage(real_data / AGAINST_DCMTK[0])
    pixels, attributes = image.pixels(), image.attributes

    render(pixels, attributes)

    # 0.4 ms alone; ten times that means that a table is not used.
    assert spent_s(lambda: render(pixels, attributes), 0.004) <= 0.004


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="DCMTK is not installed.")
@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.4"])
def test_a_modality_table_counts_where_it_does_for_dcmtk(real_data, tmp_path, sop_class):
    made = RealImage(real_data / "ts/mr-siemens-family/1.dcm").dataset
    del made.WindowCenter, made.WindowWidth
    made.SOPClassUID = sop_class
    table = Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 16])
    table.add_new(0x00283006, "OW", (np.arange(4096) ** 2 // 256).astype("<u2").tobytes())
    table.ModalityLUTType = "US"
    made.ModalityLUTSequence = [table]
    made.save_as(tmp_path / "xa.dcm")
    image = RealImage(tmp_path / "xa.dcm")
    picture = render(image.pixels(), image.attributes).image.astype(int)
    assert np.abs(picture - shown_by_dcmtk(image)).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "samples", "photometric"),
    [(np.uint8, 3, "YBR_FULL"), (np.float32, 1, "MONOCHROME2"), (np.uint32, 1, "MONOCHROME2")],
)
def test_a_picture_takes_little_more_memory_than_the_samples_it_is_made_of(dtype, samples, photometric):
    array = np.arange(1024 * 1024 * samples).astype(dtype).reshape(1024, 1024, samples)
    pixels = pixels_of(array if samples > 1 else array[..., 0], photometric)
    nothing = attributes_of(Dataset())
    tracemalloc.start()
    try:
        picture_of(pixels, nothing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * array.nbytes
