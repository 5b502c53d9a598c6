"""OHIF, unmodified, lists the studies of the real service, opens them and shows their pixels as they are."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pydicom
import pytest
from pydicom import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import generate_uid

from tests.e2e.ohif.viewing import Samples, Viewer, as_file, drawn, shown

HTJ2K = "1.2.840.10008.1.2.4.201"
SEGMENTATION = "studies/seg-ct3"
GREY = {
    "a CT series": "studies/ct-tcia-c3n",
    "a multi-frame image": "studies/xa-ko/000000.dcm",
    "a JPEG 2000 image": "ts/ct-family/CTImage_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
}
COLOUR = {
    "an RGB ultrasound": "pixel/examples_rgb_color.dcm",
    "a JPEG 2000 ultrasound": "ts/jpeg2000/US1_J2KR.dcm",
}


@pytest.fixture
def sound(viewer: Viewer) -> Iterator[Viewer]:
    """The viewer; a complaint of the browser or a request to another host fails the test."""
    yield viewer
    assert viewer.wrong() == []


def loaded(viewer: Viewer, place: Path) -> dict[str, FileDataset]:
    """Store what lies at a place as one more study; its images by the UIDs that they have there.

    Several of the files share their UIDs with files of other places.
    """
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    fresh: dict[str, str] = {}
    images: dict[str, FileDataset] = {}
    for file in files:
        dataset = pydicom.dcmread(file)
        if place.is_dir():
            viewer.store(file.read_bytes())
        else:
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                dataset[name].value = fresh.setdefault(name, generate_uid())
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            viewer.store(as_file(dataset))
        if "PixelData" in dataset:
            images[str(dataset.SOPInstanceUID)] = dataset
    return images


def rescale(image: Dataset) -> tuple[float, float]:
    """Rescale Slope and Rescale Intercept."""
    return float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))


def modality_values(image: Dataset) -> Samples:
    """The values of the first frame behind the rescale."""
    slope, intercept = rescale(image)
    return pixel_array(image, index=0).astype(float) * slope + intercept


def stored_values(values: Samples, image: Dataset) -> bytes:
    """The values before the rescale, as native pixel data."""
    slope, intercept = rescale(image)
    kind = "i" if image.PixelRepresentation else "u"
    return ((values - intercept) / slope).astype(f"<{kind}{image.BitsAllocated // 8}").tobytes()


def windowed(values: Samples, image: Dataset) -> Samples:
    """Grey levels by the image's own window, linear (PS3.3 C.11.2.1.2.1), else by its range."""
    if "WindowCenter" in image:
        center, width = (np.atleast_1d(image[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        levels = (values - (float(center) - 0.5)) / (float(width) - 1) * 255 + 127.5
    else:
        levels = (values - values.min()) / (np.ptp(values) or 1) * 255
    return np.clip(levels, 0, 255)


def test_the_study_list_shows_what_is_stored(sound, real_data):
    images = loaded(sound, real_data / GREY["a CT series"])
    patient = str(next(iter(images.values())).PatientID)

    tab = sound.open()
    tab.wait_for(f"document.body.innerText.includes({patient!r})")


@pytest.mark.parametrize("place", GREY.values(), ids=GREY)
def test_a_grey_image_is_shown_as_it_is(sound, real_data, manifest, place):
    images = loaded(sound, real_data / place)

    seen = shown(sound.study(str(next(iter(images.values())).StudyInstanceUID)))

    image = images[seen.instance]
    path = Path(str(image.filename)).relative_to(real_data).as_posix()
    (agreed,) = (row["pixel_sha256_frame1"] for row in manifest if row["path"] == path)
    assert hashlib.sha256(stored_values(seen.samples, image)).hexdigest() == agreed
    likeness, difference = drawn(windowed(seen.samples, image), seen.picture)
    assert likeness > 0.99
    assert difference < 6
    series = [one for one in images.values() if one.SeriesInstanceUID == image.SeriesInstanceUID]
    assert seen.count == sum(int(one.get("NumberOfFrames", 1)) for one in series)


@pytest.mark.parametrize("place", COLOUR.values(), ids=COLOUR)
def test_a_colour_image_is_shown_as_it_is(sound, real_data, place):
    images = loaded(sound, real_data / place)
    (image,) = images.values()

    seen = shown(sound.study(str(image.StudyInstanceUID)))

    colours = pixel_array(image, index=0)
    assert np.abs(seen.samples.astype(int) - colours.astype(int)).max() <= 1
    likeness, difference = drawn(colours, seen.picture)
    assert likeness > 0.99
    assert difference < 6


def test_an_htj2k_series_is_shown_as_it_is(sound, real_data):
    study, series = generate_uid(), generate_uid()
    images: dict[str, Dataset] = {}
    for uid, image in loaded(sound, real_data / SEGMENTATION).items():
        if image.Modality != "CT":
            continue
        url = f"{sound.program.root}/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        accept = f"application/dicom; transfer-syntax={HTJ2K}"
        made = httpx.get(f"{url}/instances/{uid}", headers={"Accept": accept}, timeout=60)
        assert made.status_code == 200
        again = pydicom.dcmread(BytesIO(made.content))
        assert again.file_meta.TransferSyntaxUID == HTJ2K
        again.StudyInstanceUID, again.SeriesInstanceUID = study, series
        again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        sound.store(as_file(again))
        images[str(again.SOPInstanceUID)] = image

    seen = shown(sound.study(study))

    assert seen.count == 3
    assert np.array_equal(seen.samples, modality_values(images[seen.instance]))


def test_a_segmentation_does_not_break_it(sound, real_data):
    images = loaded(sound, real_data / SEGMENTATION)
    study = str(next(iter(images.values())).StudyInstanceUID)

    tab = sound.study(study)
    seen = shown(tab)

    assert np.array_equal(seen.samples, modality_values(images[seen.instance]))
    tab.wait_for("document.body.innerText.includes('SEG')")


def test_a_pdf_does_not_break_it(sound, real_data):
    document = real_data / "doc/pdf.dcm"
    sound.store(document.read_bytes())

    tab = sound.study(str(pydicom.dcmread(document).StudyInstanceUID))

    tab.wait_for("document.body.innerText.includes('PDF')")
