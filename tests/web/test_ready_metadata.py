"""Metadata out of what was made ready: the same answer, byte for byte, with the same tag."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.dicom.resource import Resource
from service.dicom.syntaxes import IMPLICIT_LE
from service.index.port import FEWEST
from service.settings import Settings
from tests.making import a_ct, a_data_set, a_file, new_uid
from tests.sites import ROOT, Site

STUDY, SERIES = new_uid(), new_uid()
PATH = f"/studies/{STUDY}/series/{SERIES}/metadata"
ASKED = [
    (PATH, "application/dicom+json", "identity"),
    (PATH, "application/dicom+json", "gzip"),
    (PATH, "application/dicom+json", "zstd"),
    (f"{PATH}?includefield=00080018,7FE00010", "application/dicom+json", "identity"),
    (f"/studies/{STUDY}/metadata", "application/dicom+json", "identity"),
    (f"/studies/{STUDY}/metadata", 'multipart/related; type="application/dicom+xml"', "identity"),
]


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """A series of two transfer syntaxes, and another instance of its study."""
    site = open_site()
    files = [
        a_ct(study=STUDY, series=SERIES, instance=f"2.25.99.{number}", InstanceNumber=number)
        for number in range(FEWEST)
    ]
    plain = a_data_set(study=STUDY, series=SERIES, instance="2.25.99.900")
    files.append(a_file(plain, IMPLICIT_LE))
    site.post_parts(*files, a_ct(study=STUDY, series=new_uid(), instance="2.25.99.901"))
    return site


def answers(site: Site, host: str = "testserver") -> list[tuple[bytes, str]]:
    """Body and tag of everything that is asked, from an application that remembers nothing."""
    found = []
    with TestClient(create_app(site.archive, Settings())) as client:
        for path, accept, coding in ASKED:
            headers = {"Accept": accept, "Accept-Encoding": coding, "Host": host}
            with client.stream("GET", ROOT + path, headers=headers) as response:
                assert response.status_code == 200
                body = b"".join(response.iter_raw())
            boundary = response.headers["content-type"].rpartition("boundary=")[2]
            found.append((body.replace(boundary.encode(), b""), response.headers["etag"]))
    return found


def test_answers_from_what_is_ready_are_those_from_the_rows(site: Site) -> None:
    before, elsewhere = answers(site), answers(site, "pacs.example.org")

    site.archive._index.fold(Resource(STUDY))  # or it has been done, a moment after the store

    assert site.archive._index.unready(Resource(STUDY)) == []
    assert answers(site) == before
    assert answers(site, "pacs.example.org") == elsewhere


def test_what_was_deleted_is_not_told_any_more(site: Site) -> None:
    site.archive._index.fold(Resource(STUDY))
    answers(site)

    deleted = f"/studies/{STUDY}/series/{SERIES}/instances/2.25.99.3"
    assert site.client.delete(ROOT + deleted).status_code == 204

    body = site.get(PATH).content
    assert b'"2.25.99.3"' not in body
    assert body.count(b'"00080018"') == FEWEST
