"""The face of an Orthanc that is reached by DIMSE only: whatever a viewer asks of a DICOMweb server."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from tests.dimse.committing import unused_port
from tests.dimse.pacs.facing import Face, Orthanc, facing, orthanc
from tests.making import a_data_set, a_file, add_pixels

STUDY, SERIES = "1.2.3", "1.2.3.4"
INSTANCE = f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.5"
PIXELS = bytes(range(32))
OBJECTS = 'multipart/related; type="application/dicom"'
OCTETS = "multipart/related; type=application/octet-stream"


def slices(count: int = 12) -> list[bytes]:
    return [
        a_file(
            add_pixels(
                a_data_set(
                    study=STUDY,
                    series=SERIES,
                    instance=f"{SERIES}.{number}",
                    InstanceNumber=number,
                    PatientName="Müller^Jürgen",
                    SpecificCharacterSet="ISO_IR 192",
                ),
                [PIXELS],
            )
        )
        for number in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int]]:
    port = unused_port()
    with orthanc(tmp_path_factory.mktemp("orthanc"), port) as running:
        running.put(*slices())
        yield running, port


@pytest.fixture(scope="module", params=["get", "move"])
def face(
    pacs: tuple[Orthanc, int], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Face]:
    running, port = pacs
    folder = tmp_path_factory.mktemp("bridge")
    with facing(running.dimse, folder, dimse_port=port, retrieve=request.param) as face:
        yield face


def values(match: dict[str, Any], tag: str) -> list[Any]:
    found = match.get(tag, {}).get("Value", [])
    return found if isinstance(found, list) else []


def test_studies_are_found_with_their_place_below_the_face(face: Face):
    (match,) = face.get("/studies?PatientName=M%C3%BCller*&includefield=00081030").json()

    assert values(match, "0020000D") == [STUDY]
    assert values(match, "00081190") == [f"{face.base}/studies/{STUDY}"]
    assert values(match, "00100010") == [{"Alphabetic": "Müller^Jürgen"}]
    assert values(match, "00201208") == [12]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        (f"/studies/{STUDY}/series", 1),
        (f"/studies/{STUDY}/series?Modality=MR", 0),
        (f"/studies/{STUDY}/series/{SERIES}/instances", 12),
        (f"/studies/{STUDY}/instances?InstanceNumber=3", 1),
        (f"/series?StudyInstanceUID={STUDY}", 1),
        ("/instances?Modality=CT&InstanceNumber=4", 1),
        ("/studies?StudyDate=20240101-20240201&ModalitiesInStudy=CT,MR&PatientName=m*", 1),
        ("/studies?StudyDate=20230101-20230201", 0),
        ("/studies/1.2.9/series", 0),
    ],
)
def test_searches_find_what_is_there_and_nothing_else(face: Face, path: str, count: int):
    answer = face.get(path)

    assert answer.status_code == (200 if count else 204)
    assert len(answer.json() if count else []) == count


def test_pages_follow_one_another_in_order(face: Face):
    path = f"/studies/{STUDY}/series/{SERIES}/instances"

    pages = [face.get(f"{path}?limit=5&offset={offset}") for offset in (0, 5, 10)]

    numbers = [values(match, "00200013")[0] for page in pages for match in page.json()]
    assert numbers == list(range(1, 13))
    assert "7 additional results" in pages[0].headers["Warning"]
    assert pages[0].headers["X-Total-Count"] == "12"


def test_an_instance_leaves_as_it_is_stored_there(face: Face):
    answer = face.get(INSTANCE, "application/dicom")

    assert answer.status_code == 200
    assert dcmread(BytesIO(answer.content)).PixelData == PIXELS


def test_metadata_point_below_the_face(face: Face):
    documents = face.get(f"/studies/{STUDY}/series/{SERIES}/metadata").json()

    assert [values(one, "00200013") for one in documents] == [[number] for number in range(1, 13)]
    uri = documents[4]["7FE00010"]["BulkDataURI"]
    assert uri == f"{face.base}{INSTANCE}/bulkdata/7FE00010"
    assert PIXELS in face.client.get(uri).content


def test_frames_are_transcoded_and_rendered(face: Face):
    plain = face.get(f"{INSTANCE}/frames/1", OCTETS)
    squeezed = face.get(
        f"{INSTANCE}/frames/1",
        'multipart/related; type="image/jphc"; transfer-syntax=1.2.840.10008.1.2.4.201',
    )
    picture = face.get(f"{INSTANCE}/rendered", "image/png")
    small = face.get(f"/studies/{STUDY}/series/{SERIES}/thumbnail", "image/jpeg")

    assert PIXELS in plain.content
    assert (squeezed.status_code, b"image/jphc" in squeezed.content) == (200, True)
    assert picture.content.startswith(b"\x89PNG")
    assert small.content.startswith(b"\xff\xd8")


def test_the_second_time_nothing_has_changed(face: Face):
    path = f"/studies/{STUDY}/series/{SERIES}/metadata"
    tag = face.get(path).headers["ETag"]

    again = face.get(path, **{"If-None-Match": tag})

    assert again.status_code == 304


def test_a_whole_study_comes_at_once(face: Face):
    answer = face.get(f"/studies/{STUDY}", OBJECTS)

    assert answer.status_code == 200
    assert answer.content.count(b"DICM") == 12


def test_what_is_not_there_is_not_found(face: Face):
    for path in ("/studies/1.2.9/metadata", f"/studies/{STUDY}/series/1.9/metadata", f"{INSTANCE}99"):
        assert face.get(path, "*/*").status_code == 404


def test_what_is_stored_can_be_read_at_once(face: Face):
    made = a_data_set(study="1.2.77")

    answer = face.store(a_file(made), path="/studies/1.2.77")

    assert answer.status_code == 200
    assert values(answer.json()["00081199"]["Value"][0], "00081155") == [made.SOPInstanceUID]
    found = face.get("/studies/1.2.77/metadata").json()
    assert made.SOPInstanceUID in [values(one, "00080018")[0] for one in found]


def test_a_client_of_others_gets_along(face: Face):
    client = DICOMwebClient(face.base)

    studies = client.search_for_studies(search_filters={"PatientID": "P1"})
    series = client.retrieve_series(STUDY, SERIES)
    frames = client.retrieve_instance_frames(STUDY, SERIES, f"{SERIES}.5", [1])

    assert STUDY in [one["0020000D"]["Value"][0] for one in studies]
    assert len(series) == 12
    assert frames == [PIXELS]


def test_what_is_cached_outlasts_the_bridge(pacs: tuple[Orthanc, int], tmp_path: Path):
    running, _ = pacs
    path = f"/studies/{STUDY}/series/{SERIES}/metadata"
    with facing(running.dimse, tmp_path) as face:
        first = face.get(path).json()
    kept = sorted((tmp_path / "cache" / "pacs" / "objects").rglob("*.dcm"))

    with facing(running.dimse, tmp_path) as face:
        again = face.get(path).json()

    assert len(first) == len(again) == 12
    assert sorted((tmp_path / "cache" / "pacs" / "objects").rglob("*.dcm")) == kept
