"""A client that nobody here wrote: dicomweb-client stores, finds and reads."""

import io

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.uid import UID

from service.dicom.syntaxes import BY_UID
from tests.reading import differences

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's and the client's, about the files


@pytest.fixture(scope="module")
def client(product):
    return DICOMwebClient(product.root)


@pytest.fixture(scope="module")
def files(real_data, manifest, client):
    """Data sets of the coherent studies, stored by the client."""
    rows = [row for row in manifest if row["path"].startswith("studies/") and row["has_all_uids"] == "yes"]
    read = {}
    for row in rows:
        one = pydicom.dcmread(real_data / row["path"])
        if one.SOPInstanceUID not in read:
            read[one.SOPInstanceUID] = (row, one)
    sets = [one for _, one in read.values()]
    for start in range(0, len(sets), 20):
        client.store_instances(sets[start : start + 20])
    return read


def test_every_study_series_and_instance_is_found(client, files):
    sets = [one for _, one in files.values()]
    studies = client.search_for_studies(get_remaining=True, limit=3)
    assert {one.StudyInstanceUID for one in sets} <= {one["0020000D"]["Value"][0] for one in studies}
    series = client.search_for_series(get_remaining=True, limit=7)
    assert {one.SeriesInstanceUID for one in sets} <= {one["0020000E"]["Value"][0] for one in series}
    instances = client.search_for_instances(get_remaining=True, limit=50)
    assert set(files) <= {one["00080018"]["Value"][0] for one in instances}
    for one in sets[:20]:
        found = client.search_for_studies(
            search_filters={"PatientID": one.PatientID, "StudyDate": one.StudyDate},
            fields=["PatientComments"],
        )
        assert one.StudyInstanceUID in {each["0020000D"]["Value"][0] for each in found}


def test_every_instance_comes_back_element_by_element(client, files):
    problems = []
    for row, one in files.values():
        place = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        back = client.retrieve_instance(*place, media_types=(("application/dicom", "*"),))
        big = BY_UID[row["transfer_syntax"]].big_endian
        problems += [f"{row['path']}: {text}" for text in differences(one, back, big_endian=big)]
    assert not problems, "\n".join(problems)


def test_metadata_hold_what_the_objects_hold(client, files):
    by_series: dict[tuple[str, str], set[str]] = {}
    for _, one in files.values():
        by_series.setdefault((one.StudyInstanceUID, one.SeriesInstanceUID), set()).add(one.SOPInstanceUID)
    for place, instances in by_series.items():
        metadata = client.retrieve_series_metadata(*place)
        assert instances <= {one["00080018"]["Value"][0] for one in metadata}
        for document in metadata:
            read = pydicom.Dataset.from_json(document, lambda *_: b"")
            row, one = files.get(read.SOPInstanceUID, (None, None))
            if one is not None:
                assert str(read.PatientName) == str(one.PatientName), row["path"]
                assert read.get("Rows") == one.get("Rows"), row["path"]
    study = next(iter(by_series))[0]
    assert client.retrieve_study_metadata(study)


def test_a_whole_series_comes_back(client, files):
    _, one = next(iter(files.values()))
    place = (one.StudyInstanceUID, one.SeriesInstanceUID)
    back = client.retrieve_series(*place, media_types=(("application/dicom", "*"),))
    expected = {uid for uid, (_, each) in files.items() if each.SeriesInstanceUID == one.SeriesInstanceUID}
    assert expected <= {each.SOPInstanceUID for each in back}


def test_native_frames_are_the_pixels(client, files):
    checked = 0
    for row, one in files.values():
        syntax = BY_UID[row["transfer_syntax"]]
        if "PixelData" not in one or syntax.encapsulated or one.BitsAllocated != 16:
            continue
        place = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        count = int(one.get("NumberOfFrames", 1))
        numbers = sorted({1, (count + 1) // 2, count})
        frames = client.retrieve_instance_frames(*place, frame_numbers=numbers)
        pixels = one.pixel_array if count > 1 else one.pixel_array[np.newaxis]
        for number, frame in zip(numbers, frames, strict=True):
            assert frame == pixels[number - 1].astype("<u2", casting="unsafe").tobytes(), (
                row["path"],
                number,
            )
        checked += 1
    assert checked > 20


def test_bulk_data_are_read_by_their_uri(client, files):
    _, one = next(
        (row, each)
        for row, each in files.values()
        if "PixelData" in each and "1.2.1" in row["transfer_syntax"][-5:]
    )
    place = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    document = client.retrieve_instance_metadata(*place)
    (bulk,) = client.retrieve_bulkdata(document["7FE00010"]["BulkDataURI"])
    assert bulk == one.PixelData


def test_what_the_client_stores_is_what_it_gets(client, files):
    _, one = next(iter(files.values()))
    made = pydicom.dcmread(io.BytesIO(_written(one)))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID("2.25.815")
    answer = client.store_instances([made])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["2.25.815"]
    assert "FailedSOPSequence" not in answer


def _written(one) -> bytes:
    buffer = io.BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
