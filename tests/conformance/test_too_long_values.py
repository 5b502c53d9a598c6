"""Pixel data that no uncompressed element can hold (PS3.18 8.7.3.5.2, PS3.5 7.1.2)."""

import pytest

from tests.conformance.retrieving import AS_STORED, DICOM, J2K, keep
from tests.conformance.rows import row
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import data_set


@pytest.mark.parametrize(
    "accept",
    [
        row("PS3.18 8.7.3.5.2", "too long for 32 bits: as stored by any syntax", AS_STORED),
        row("PS3.18 8.7.3.5.2", "too long for 32 bits: never called uncompressed", DICOM),
    ],
)
def test_what_is_too_long_when_decoded_goes_as_it_is_or_not_at_all(site, accept):
    made = add_pixels(a_data_set(), [bytes(32)], rows=65535, columns=65535)
    path = keep(site, a_file(made, J2K, codestreams=[b"\xff\x4f\xff\xd9"]))
    response = site.get(path, accept)
    assert response.status_code in ((200,) if accept == AS_STORED else (200, 406))
    assert response.status_code in ((200,) if accept == AS_STORED else (200, 406))
    if response.status_code == 200:
        assert response.headers["content-type"] == f"{DICOM}; transfer-syntax={J2K}"
        assert data_set(response.content).file_meta.TransferSyntaxUID == J2K
