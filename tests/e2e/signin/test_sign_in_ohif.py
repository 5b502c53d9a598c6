"""OHIF, unmodified, signs in at a real OpenID provider and shows what the service keeps."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from tests.e2e.ohif.viewing import shown
from tests.e2e.signin.conftest import Site, sign_in

CT = "studies/ct-tcia-c3n"
# It looks whether a token that it does not have could be renewed.
UNKNOWN = "status of 401"


def test_ohif_signs_in_and_shows_the_pixels_as_they_are(viewed: Site, real_data: Path):
    file = sorted((real_data / CT).iterdir())[0]
    image = pydicom.dcmread(file)
    viewed.store(file.read_bytes())
    tab = viewed.open("ohif/")

    sign_in(tab)
    tab.wait_for(f"document.body.innerText.includes({str(image.PatientID)!r})")
    tab.go(f"{viewed.address}ohif/viewer?StudyInstanceUIDs={image.StudyInstanceUID}")
    seen = shown(tab)

    values = pixel_array(image).astype(float) * float(image.RescaleSlope) + float(image.RescaleIntercept)
    assert np.array_equal(seen.samples, values)
    assert viewed.wrong() == []
