"""What the tests of Retrieve share: objects kept in a site, and where they lie."""

from collections.abc import Sequence
from typing import Any

from service.dicom.syntaxes import ROOT as UIDS
from tests.making import a_data_set, a_file, add_pixels
from tests.sites import ROOT, Site

J2K, J2K_LOSSY, JPEG, RLE = UIDS + ".4.90", UIDS + ".4.91", UIDS + ".4.50", UIDS + ".5"
HTJ2K, MP4 = UIDS + ".4.201", UIDS + ".4.102"
DICOM, OCTETS = "application/dicom", "application/octet-stream"
AS_STORED = f"{DICOM}; transfer-syntax=*"
MANY_AS_STORED = f'multipart/related; type="{DICOM}"; transfer-syntax=*'
MANY_OCTETS = f'multipart/related; type="{OCTETS}"'
MANY_ANY = f'{MANY_OCTETS}; transfer-syntax="*"'


def keep(site: Site, file: bytes) -> str:
    """Store `file`; the path of its instance below the DICOMweb root."""
    response = site.post(file)
    assert response.status_code in (200, 202), response.text
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return str(url).removeprefix(ROOT)


def encapsulated(codestreams: Sequence[bytes], syntax: str = J2K, **attributes: Any) -> bytes:
    """A file with a fragment for each of the codestreams, one a frame."""
    made = add_pixels(a_data_set(**attributes), [bytes(32)] * len(codestreams))
    return a_file(made, syntax, codestreams=codestreams)


def study_of(path: str) -> str:
    """The study's path out of an instance's."""
    return path.partition("/series/")[0]


def series_of(path: str) -> str:
    """The series' path out of an instance's."""
    return path.partition("/instances/")[0]
