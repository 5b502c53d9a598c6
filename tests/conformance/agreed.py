"""What an answer says of itself, and images whose representations are agreed on."""

import re
from dataclasses import dataclass

import httpx2 as httpx

from service.dicom.syntaxes import ROOT as UIDS
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import parts_of
from tests.sites import Site

JSON = "application/dicom+json"
XML = "application/dicom+xml"
DICOM = "application/dicom"
OCTETS = "application/octet-stream"
J2K, JPEG, RLE = UIDS + ".4.90", UIDS + ".4.50", UIDS + ".5"
HTJ2K, JXL = UIDS + ".4.201", UIDS + ".4.110"
CODESTREAM = b"\xff\x4f a codestream \xff\xd9"
SERIES = "/studies/1.1/series/1.2"
NATIVE, J2K_ONE = SERIES + "/instances/1.3", "/studies/1.4/series/1.5/instances/1.6"
J2K_MANY = "/studies/1.4/series/1.5/instances/1.7"
PICTURE = "/studies/1.8/series/1.9/instances/1.10"


def keep_images(site: Site) -> Site:
    """Keep native, JPEG 2000 and baseline JPEG images: the site itself."""
    native = a_ct([bytes(32)] * 3, study="1.1", series="1.2", instance="1.3")
    names = {"study": "1.4", "series": "1.5"}
    single = add_pixels(a_data_set(**names, instance="1.6"), [bytes(32)])
    several = add_pixels(a_data_set(**names, instance="1.7"), [bytes(32)] * 2)
    lossy = add_pixels(a_data_set(study="1.8", series="1.9", instance="1.10"), [bytes(16)], bits=8)
    answer = site.post_parts(
        native,
        a_file(single, J2K, codestreams=[CODESTREAM]),
        a_file(several, J2K, codestreams=[CODESTREAM] * 2),
        a_file(lossy, JPEG, codestreams=[b"\xff\xd8 a picture\xff\xd9"]),
    )
    assert answer.status_code == 200
    return site


@dataclass(frozen=True)
class Told:
    """What an answer says of itself: its form, the type of its items and their transfer syntaxes."""

    form: str
    item: str
    syntaxes: tuple[str, ...] = ()


def one(item: str, syntax: str = "") -> Told:
    return Told("single", item, (syntax,) if syntax else ())


def many(item: str, syntax: str = "") -> Told:
    return Told("multipart", item, (syntax,) if syntax else ())


def told(response: httpx.Response) -> Told | int:
    """`Told`, or the status of a refusal."""
    if response.status_code != 200:
        return int(response.status_code)
    kind = response.headers["content-type"]
    if not kind.startswith("multipart/related"):
        item, _, parameter = kind.partition("; transfer-syntax=")
        return Told("single", item, (parameter,) if parameter else ())
    root = re.search(r'; type="([^"]+)"', kind)
    assert root is not None, kind
    parts = [part.headers["Content-Type"].partition("; transfer-syntax=") for part in parts_of(response)]
    assert parts[0][0] == root[1]  # the root's type is that of the first part
    return Told("multipart", root[1], tuple(dict.fromkeys(syntax for *_, syntax in parts if syntax)))
