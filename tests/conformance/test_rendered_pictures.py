"""Rendered pictures over HTTP against independent renderings of real files (PS3.3 C.11, PS3.4 N.2)."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing

from service.dicom.syntaxes import ROOT as UIDS
from service.index.port import OnDuplicate
from tests.conformance.picturing import GIF, PNG, decoded, picture
from tests.conformance.retrieving import keep
from tests.conformance.rows import cites, row
from tests.pixels.pictures import read_pnm
from tests.reading import parts_of

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

# What DCMTK is told to use for grey images: the first window, the first VOI LUT, or all values there are.
WINDOW, LUT, ALL_VALUES, NOTHING = ["+Wi", "1"], ["+Wl", "1"], ["+Wm"], list[str]()
CT = "ts/ct-family/CTImage_{}TransferSyntax_{}.dcm"
EXACT, ROUNDED, COLOUR = 0, 1, 2
MR, FUNCTIONAL, WIDE = (600.0, 1600.0), (100.0, 200.0), (128.0, 256.0)

AGAINST_DCMTK = [
    row("PS3.3 C.11.2", "CT by its window, implicit VR", "studies/seg-ct3/01.dcm", WINDOW, ROUNDED),
    row("PS3.5 7.3", "CT, big endian", CT.format("BigEndianExplicit", UIDS + ".2"), WINDOW, ROUNDED),
    row("PS3.5 8.2.1", "CT, JPEG", CT.format("JPEGProcess14SV1", UIDS + ".4.70"), WINDOW, ROUNDED),
    row("PS3.5 G", "CT, RLE", CT.format("RLELossless", UIDS + ".5"), WINDOW, ROUNDED),
    row("PS3.3 C.11.2", "MR by its window", "ts/mr-siemens-family/1.dcm", WINDOW, ROUNDED),
    row("PS3.3 C.11.1", "PT, rescaled", "modality/pt/sample.dcm", WINDOW, ROUNDED),
    row("PS3.3 C.11.1", "a modality LUT", "pixel/mlut_18.dcm", ALL_VALUES, ROUNDED),
    row("PS3.3 C.11.2", "a VOI LUT", "pixel/vlut_04.dcm", LUT, ROUNDED),
    row("PS3.3 C.7.6.3.1.2", "MONOCHROME1 is inverted", "modality/dx/dx_image.dcm", WINDOW, ROUNDED),
    row("PS3.3 C.7.6.3.1.3", "signed values of 9 bits", "pixel/signed-raw-9bit.dcm", ALL_VALUES, ROUNDED),
    row("PS3.3 C.7.6.3.1.5", "US by a palette", "pixel/examples_palette.dcm", NOTHING, ROUNDED),
    row("PS3.3 C.7.6.3.1.2", "RGB", "pixel/examples_rgb_color.dcm", NOTHING, EXACT),
    row("PS3.3 C.7.6.3.1.3", "RGB by planes", "pixel/color-pl.dcm", NOTHING, EXACT),
    row("PS3.3 C.7.6.3.1.2", "US in YBR_FULL_422", "pixel/US-YBR_FULL_422-EVRLE.dcm", NOTHING, COLOUR),
    row("PS3.3 C.7.6.3.1.2", "YBR_FULL in RLE", "pixel/ybrFull-RLE.dcm", NOTHING, COLOUR),
    row("PS3.5 8.2.1", "YBR in JPEG", "ts/jpeg/SC_rgb_dcmtk_+eb+cr.dcm", NOTHING, COLOUR),
    row("PS3.3 C.11.2", "XA, not rescaled", "studies/xa-ko/000000.dcm", NOTHING, ROUNDED),
]  # fmt: skip


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed.")
@pytest.mark.parametrize(("path", "choice", "tolerance"), AGAINST_DCMTK)
def test_pictures_are_those_that_dcmtk_makes(site, real_data, path, choice, tolerance):
    shown = picture(site.get(keep(site, (real_data / path).read_bytes()) + "/frames/1/rendered", PNG))
    command = ["dcmj2pnm", "+F", "1", "+op", *choice, str(real_data / path)]
    expected = read_pnm(subprocess.run(command, capture_output=True, check=True).stdout)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= tolerance


def by_pydicom(made: Dataset, number: int = 1, window: tuple[float, float] | None = None) -> Any:
    """A frame as pydicom shows it: modality, window, or palette."""
    frames = made.pixel_array
    array = frames[number - 1] if int(made.get("NumberOfFrames") or 1) > 1 else frames
    if made.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(array, made) >> 8
    if array.ndim == 3:
        return array
    values = apply_modality_lut(array, made).astype(float)
    if window is None:
        low, high = values.min(), values.max()
        return np.floor((values - low) * 255 / ((high - low) or 1) + 0.5)
    shown = Dataset()
    shown.PhotometricInterpretation, shown.PixelRepresentation = "MONOCHROME2", 1
    shown.BitsStored = 16
    shown.WindowCenter, shown.WindowWidth = window
    return (apply_windowing(values, shown) + 32768) * 255 / 65535


@pytest.mark.parametrize(
    ("path", "number", "window"),
    [
        row("PS3.5 8.2.4", "JPEG 2000", "ts/mr-small-family/MR_small_jp2klossless.dcm", 1, MR),
        row("PS3.5 A.5", "deflated", "ts/deflated/image_dfl.dcm", 1, WIDE),
        row("PS3.3 C.8.8.3", "a dose of 32 bits", "rt/rtdose.dcm", 8, None),
        row("PS3.5 7.3", "a dose of 32 bits, big endian", "ts/native-big-endian/rtdose_expb.dcm", 8, None),
        row("PS3.5 G", "a dose of 32 bits, RLE", "rt/rtdose_rle.dcm", 8, None),
        row("PS3.3 C.7.6.16", "enhanced MR", "pixel/emri_small.dcm", 5, FUNCTIONAL),
        row("PS3.5 8.2.4", "the same in JPEG 2000", "pixel/emri_small_jpeg_2k_lossless.dcm", 5, FUNCTIONAL),
    ],
)  # fmt: skip
def test_pictures_are_those_that_pydicom_makes(site, real_data, path, number, window):
    content = (real_data / path).read_bytes()
    query = "" if window is None else f"?window={window[0]},{window[1]},linear"
    response = site.get(f"{keep(site, content)}/frames/{number}/rendered{query}", PNG)
    expected = by_pydicom(pydicom.dcmread(real_data / path), number, window)
    assert np.abs(picture(response) - expected).max() <= 1


@pytest.mark.parametrize(
    ("path", "native"),
    [
        row("PS3.3 C.8.20.2", "binary", "seg/seg_image_ct_binary.dcm", "seg/seg_image_ct_binary.dcm"),
        row("PS3.5 8.1.1", "that begin inside of a byte", *["pixel/liver_nonbyte_aligned.dcm"] * 2),
        row("PS3.5 G", "in RLE", "pixel/liver_nonbyte_aligned_rle.dcm", "pixel/liver_nonbyte_aligned.dcm"),
        row(
            "PS3.5 8.2.4",
            "in JPEG 2000",
            "pixel/liver_nonbyte_aligned_j2k.dcm",
            "pixel/liver_nonbyte_aligned.dcm",
        ),
    ],
)
def test_segments_are_white_on_black(site, real_data, path, native):
    made = pydicom.dcmread(real_data / native)
    place = keep(site, (real_data / path).read_bytes())
    frames = made.pixel_array.reshape(-1, made.Rows, made.Columns)
    for number in range(1, len(frames) + 1):
        shown = picture(site.get(f"{place}/frames/{number}/rendered", PNG))
        assert np.array_equal(shown, frames[number - 1] * 255)


@cites("PS3.3 C.11.2.1.3", "the windows of floating point images are exact, whatever they say")
def test_a_parametric_map(site, real_data):
    path = real_data / "pixel/parametric_map_float.dcm"
    shown = picture(site.get(keep(site, path.read_bytes()) + "/rendered", PNG))
    values = pydicom.dcmread(path).pixel_array  # the window is of 0.5 and 1
    assert np.abs(shown - np.clip(values * 255, 0, 255)).max() <= 1


@cites("PS3.4 N.2", "a presentation state of LUTs is applied as DCMTK applies it")
@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="DCMTK's dcmpstat is not installed.")
def test_a_presentation_state(site, real_data, tmp_path):
    image, state = real_data / "pr/imageForPrLUTs.dcm", real_data / "pr/prLUTs.dcm"
    keep(site, image.read_bytes())
    shown = picture(site.get(keep(site, state.read_bytes()) + "/rendered", PNG))
    target = tmp_path / "shown.pgm"
    subprocess.run(["dcmp2pgm", "-p", str(state), str(image), str(target)], capture_output=True, check=True)
    expected = read_pnm(target.read_bytes())
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= 1


@cites("PS3.18 8.3.5.1.3", "a viewport keeps the shape of what is cut out, and scales it up too")
def test_a_viewport(site, real_data):
    place = keep(site, (real_data / "studies/seg-ct3/01.dcm").read_bytes()) + "/rendered"
    whole = picture(site.get(place, PNG))
    small = picture(site.get(place + "?viewport=128,200", PNG))
    assert small.shape == (128, 128)
    assert np.abs(small - whole.reshape(128, 4, 128, 4).mean(axis=(1, 3))).max() <= 1
    assert picture(site.get(place + "?viewport=1024,1024", PNG)).shape == (1024, 1024)
    part = picture(site.get(place + "?viewport=100,50,200,300,100,50", PNG))
    assert np.array_equal(part, whole[300:350, 200:300])
    turned = picture(site.get(place + "?viewport=100,50,200,300,-100,-50", PNG))
    assert np.array_equal(turned, whole[300:350, 200:300][::-1, ::-1])


@cites("spec 8", "an animation shows the frames as they are shown one by one")
def test_an_animation_of_a_real_image(site, real_data):
    place = keep(site, (real_data / "pixel/emri_small.dcm").read_bytes())
    query = "?window=100,200,linear"
    moving = picture(site.get(f"{place}/rendered{query}", GIF))
    grey = moving[..., 0] if moving.ndim == 4 else moving
    parts = parts_of(site.get(f"{place}/rendered{query}", f'multipart/related; type="{PNG}"'))
    assert len(grey) == len(parts) == 10
    for shown, part in zip(grey, parts, strict=True):
        assert np.array_equal(shown, decoded(part.content, PNG))


@cites("issue 4", "every stored instance is shown, or said not to be: never a fault of the server")
def test_every_real_file_is_rendered_or_refused(open_site, real_data, manifest):
    site = open_site(on_duplicate=OnDuplicate.REPLACE, pixel_cache=0)
    problems, shown = [], 0
    for entry in manifest:
        path = Path(real_data / entry["path"])
        stored = site.post(path.read_bytes())
        if stored.status_code not in (200, 202):
            continue
        url = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        for below in ("/rendered", "/thumbnail"):
            response = site.get(url + below)
            shown += response.status_code == 200
            if response.status_code not in (200, 404, 406):
                problems.append(f"{entry['path']}{below}: {response.status_code} {response.text[:200]}")
            sound = not entry["path"].startswith("malformed/")
            if sound and below == "/thumbnail" and response.status_code != 200:
                problems.append(f"{entry['path']}{below}: {response.status_code} {response.text[:200]}")
    assert not problems, "\n".join(problems)
    assert shown > 850
