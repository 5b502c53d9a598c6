"""The JavaScript dicomweb-client, which OHIF and others are built on, stores, finds and reads."""

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests import packages
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set

HERE = Path(__file__).with_name("js")
J2K = UIDS + ".4.90"
CODESTREAMS = [b"\xff\x4fone\xff\xd9", b"\xff\x4ftwo, longer\xff\xd9"]
FRAMES = [bytes(range(32)), bytes(range(100, 132)), bytes(range(200, 232))]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of node's packages, those that the lock file names."""
    with packages.or_skip():
        return packages.installed(HERE, tmp_path_factory.mktemp("js"))


@dataclass(frozen=True)
class Client:
    """A DICOMwebClient with these options, for each call a new process."""

    packages: Path
    options: dict[str, Any]

    def answer(self, method: str, **options: Any) -> dict[str, Any]:
        """What became of one call: its `value`, or the `status` and the `error` of a refusal."""
        asked = {
            "module": str(self.packages / "dicomweb-client/build/dicomweb-client.js"),
            "xhr": str(self.packages / "xhr2/lib/xhr2.js"),
            "client": self.options,
            "calls": [{"method": method, "options": options}],
        }
        done = subprocess.run(
            ["node", "--no-deprecation", str(HERE / "calls.mjs")],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        (given,) = json.loads(done.stdout)
        return dict(given)

    def call(self, method: str, **options: Any) -> Any:
        """The value of one call that succeeds."""
        given = self.answer(method, **options)
        assert "error" not in given, given
        return given["value"]


@pytest.fixture(scope="module")
def client(installed, product) -> Client:
    return Client(installed, {"url": product.root})


@dataclass(frozen=True)
class Kept:
    """A file that the client has stored, and how its calls name it."""

    file: bytes
    answer: Any

    @property
    def place(self) -> dict[str, str]:
        read = data_set(self.file)
        return {
            "studyInstanceUID": read.StudyInstanceUID,
            "seriesInstanceUID": read.SeriesInstanceUID,
            "sopInstanceUID": read.SOPInstanceUID,
        }


def stored(client: Client, folder: Path, *files: bytes) -> list[Kept]:
    paths = []
    for number, file in enumerate(files):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(file)
    answer = client.call("storeInstances", datasets=[str(path) for path in paths])
    return [Kept(file, answer) for file in files]


@pytest.fixture(scope="module")
def native(client, tmp_path_factory) -> Kept:
    (kept,) = stored(client, tmp_path_factory.mktemp("native"), a_ct(FRAMES, PatientID="JS1"))
    return kept


@pytest.fixture(scope="module")
def compressed(client, tmp_path_factory) -> Kept:
    made = a_file(add_pixels(a_data_set(), [bytes(32)] * 2), J2K, codestreams=CODESTREAMS)
    (kept,) = stored(client, tmp_path_factory.mktemp("compressed"), made)
    return kept


def content(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["base64"])


def test_several_instances_are_stored_at_once(client, tmp_path):
    study = new_uid()
    kept = stored(client, tmp_path, a_ct(study=study), a_ct(study=study, syntax=IMPLICIT_LE))
    answer = json.loads(kept[0].answer) if isinstance(kept[0].answer, str) else kept[0].answer
    assert {item["00081155"]["Value"][0] for item in answer["00081199"]["Value"]} == {
        one.place["sopInstanceUID"] for one in kept
    }
    assert "00081198" not in answer


def test_instances_of_a_study_are_stored_under_it(client, tmp_path):
    made = a_ct()
    (tmp_path / "one.dcm").write_bytes(made)
    options = {"datasets": [str(tmp_path / "one.dcm")], "studyInstanceUID": data_set(made).StudyInstanceUID}
    assert "error" not in client.answer("storeInstances", **options)
    wrong = client.answer("storeInstances", **{**options, "studyInstanceUID": "1.2.3"})
    assert wrong["status"] == 409


def test_studies_series_and_instances_are_found(client, native):
    place = native.place
    (study,) = client.call("searchForStudies", queryParams={"PatientID": "JS1"})
    assert study["0020000D"]["Value"] == [place["studyInstanceUID"]]
    below = {"studyInstanceUID": place["studyInstanceUID"]}
    (series,) = client.call("searchForSeries", **below)
    assert series["0020000E"]["Value"] == [place["seriesInstanceUID"]]
    (instance,) = client.call(
        "searchForInstances", **below, seriesInstanceUID=place["seriesInstanceUID"], queryParams={"limit": 5}
    )
    assert instance["00080018"]["Value"] == [place["sopInstanceUID"]]
    assert client.call("searchForInstances", queryParams={"SOPInstanceUID": place["sopInstanceUID"]})


def test_a_search_without_matches_is_an_empty_list(client):
    assert client.call("searchForStudies", queryParams={"PatientID": "nobody at all"}) == []


@pytest.mark.parametrize(
    "method", ["retrieveStudyMetadata", "retrieveSeriesMetadata", "retrieveInstanceMetadata"]
)
def test_metadata_are_read(client, native, method):
    (document,) = client.call(method, **native.place)
    assert document["00080018"]["Value"] == [native.place["sopInstanceUID"]]
    assert document["00280008"]["Value"] == [3]


def test_an_instance_comes_back_as_it_was_stored(client, native, compressed):
    assert content(client.call("retrieveInstance", **native.place)) == native.file
    # The client refuses `mediaTypes` here; what the page adds as a header comes behind its own range.
    more = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*;q=0.9'}
    patient = Client(client.packages, {**client.options, "headers": more})
    part = patient.call("retrieveInstance", **compressed.place)
    assert content(part) == compressed.file
    assert (part["contentType"], part["transferSyntaxUID"]) == ("application/dicom", J2K)


def test_series_and_studies_come_back(client, native):
    for method in ("retrieveSeries", "retrieveStudy"):
        (part,) = client.call(method, **native.place)
        assert content(part) == native.file
        assert part["transferSyntaxUID"] == EXPLICIT_LE


def test_native_frames_are_the_pixels(client, native):
    parts = client.call("retrieveInstanceFrames", **native.place, frameNumbers=[3, 1])
    assert [content(part) for part in parts] == [FRAMES[2], FRAMES[0]]
    assert parts[0]["contentType"] == "application/octet-stream"
    assert parts[0]["transferSyntaxUID"] == EXPLICIT_LE


@pytest.mark.parametrize(
    "media_types",
    [
        [{"mediaType": "application/octet-stream", "transferSyntaxUID": "*"}],
        [{"mediaType": "image/jp2", "transferSyntaxUID": J2K}],
        [{"mediaType": "image/*", "transferSyntaxUID": "*"}],
        [
            {"mediaType": "application/octet-stream", "transferSyntaxUID": EXPLICIT_LE},
            {"mediaType": "image/jls", "transferSyntaxUID": UIDS + ".4.80"},
            {"mediaType": "image/jp2", "transferSyntaxUID": J2K},
        ],
    ],
    ids=["as stored", "by name", "any image", "one of several"],
)
def test_compressed_frames_are_the_codestreams(client, compressed, media_types):
    parts = client.call(
        "retrieveInstanceFrames", **compressed.place, frameNumbers=[1, 2], mediaTypes=media_types
    )
    # Codestreams of odd length are padded in the object, and clients mind that not.
    assert [content(part).rstrip(b"\0") for part in parts] == CODESTREAMS
    assert {(part["contentType"], part["transferSyntaxUID"]) for part in parts} == {("image/jp2", J2K)}


def test_bulk_data_are_read_by_their_uri(client, native):
    (document,) = client.call("retrieveInstanceMetadata", **native.place)
    (part,) = client.call("retrieveBulkData", BulkDataURI=document["7FE00010"]["BulkDataURI"])
    assert content(part) == b"".join(FRAMES)


def test_bulk_data_come_as_a_single_part_to_a_client_that_wants_them_so(client, native):
    (document,) = client.call("retrieveInstanceMetadata", **native.place)
    single = Client(client.packages, {**client.options, "singlepart": True})
    (part,) = single.call(
        "retrieveBulkData",
        BulkDataURI=document["7FE00010"]["BulkDataURI"],
        headers={"Accept": "application/octet-stream"},
    )
    assert content(part) == b"".join(FRAMES)


def test_an_object_is_read_by_the_url_that_the_client_builds_for_it(client, native, compressed):
    for kept in (native, compressed):
        (part,) = client.call("fetchWadoURI", **kept.place)
        assert content(part) == kept.file


def test_the_url_may_be_built_below_the_root(client, native):
    below = Client(client.packages, {**client.options, "wadoURLPrefix": "wado"})
    (part,) = below.call("fetchWadoURI", **native.place)
    assert content(part) == native.file


def test_a_refusal_has_its_status(client, native):
    missing = {**native.place, "sopInstanceUID": "1.2.3"}
    assert client.answer("retrieveInstanceMetadata", **missing)["status"] == 404
    frames = client.answer("retrieveInstanceFrames", **native.place, frameNumbers=[4])
    assert frames["status"] == 404
