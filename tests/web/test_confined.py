"""What somebody is told who is confined to certain studies or patients: the rest never was."""

import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.app import HOUSEKEEPING, routes_of
from service.archive.confined import Confined
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Forgets, Lacks, Recalls
from service.dicom.confinement import Confinement
from service.dicom.resource import Resource
from service.index.memory import MemoryIndex
from service.index.port import FEWEST
from service.store.memory import MemoryStore
from tests.making import CT, a_data_set, a_file, add_pixels, new_uid
from tests.wards import MINE, OTHERS, Ids, Ward, a_file_of, some_ids, told

JSON, XML = "application/dicom+json", 'multipart/related; type="application/dicom+xml"'
OBJECTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# What is asked for by what a path ends with.
ACCEPTS = {
    r".*/(studies|series|instances|metadata)(\?.*)?": (None, JSON, XML),
    r".*/(rendered|thumbnail)": (None, "image/jpeg"),
    r".*(/wado|/)\?.*": (None,),
    r".*/(findings|bulk.*|pixeldata)": (None, "application/octet-stream"),
    r".*": (None, OBJECTS, "application/zip", "image/jpeg"),
}


def _paths() -> list[tuple[str, str]]:
    """Every route below the DICOMweb root that names a study, and every way to name one in a query.

    What is sent to be stored has tests of its own.
    """
    archive = ObjectArchive(MemoryStore(), MemoryIndex(), limits=IntakeLimits(1 << 20, 10, 1 << 20))
    table = [(method, path) for method, path, _ in routes_of(archive)]
    archive.close()
    paths = [(method, path) for method, path in table if "{study}" in path and method != "POST"]
    searches = [path for method, path in table if method == "GET" and re.fullmatch(r"/[a-z]+", path)]
    assert sorted(searches) == ["/instances", "/series", "/studies", "/wado"]
    paths += [
        ("GET", f"{path}?{keys}")
        for path in searches
        if path != "/wado"
        for keys in ("StudyInstanceUID={study}", f"PatientID={OTHERS}", "AccessionNumber=A-{study}&limit=0")
    ]
    assert [path for _, path, _ in HOUSEKEEPING if path == "/wado"]
    wado = "requestType=WADO&objectUID={instance}"
    for base, tail, kind in itertools.product(
        ("/wado", "/", "http://testserver/wado"),
        ("", "&studyUID={study}", "&studyUID={study}&seriesUID={series}"),
        ("", "&contentType=application/dicom"),
    ):
        paths.append(("GET", f"{base}?{wado}{tail}{kind}"))
    return paths


def accepts_of(path: str) -> tuple[str | None, ...]:
    return next(accepts for form, accepts in ACCEPTS.items() if re.fullmatch(form, path))


PATHS = _paths()
EVERY_PATH = pytest.mark.parametrize(("method", "path"), PATHS, ids=[" ".join(one) for one in PATHS])


@pytest.fixture(scope="module")
def full(open_wards: Callable[[], Ward]) -> tuple[Ward, Ids, Ids]:
    """A ward with an instance of mine and one of others, in which nothing is changed."""
    ward, mine, others = open_wards(), some_ids(), some_ids()
    assert ward.store(a_file_of(mine, MINE), a_file_of(others, OTHERS)).status_code == 200
    return ward, mine, others


@EVERY_PATH
def test_what_is_not_permitted_is_as_if_it_never_was(
    full: tuple[Ward, Ids, Ids], method: str, path: str
) -> None:
    ward, mine, others = full
    absent = some_ids()
    for accept in accepts_of(path) if method == "GET" else (None,):
        ward.be(None)
        tag = '"none"'
        if method == "GET":  # whatever may be kept of it is kept
            tag = ward.get(others.fill(path), accept).headers.get("etag", tag)
        asked = [("study", method, {}), ("patient", method, {"If-None-Match": tag})]
        asked += [("patient", method, {"If-Match": tag})]
        asked += [("patient", "HEAD", {"If-None-Match": "*"})] if method == "GET" else []
        for kind, verb, headers in asked:
            ward.be(mine.confinement(kind))

            hidden = ward.ask(verb, others.fill(path), accept, **headers)

            nothing = ward.ask(verb, absent.fill(path), accept, **headers)
            assert told(hidden, others) == told(nothing, absent)
            assert hidden.status_code in (204, 400, 404, 406)


@EVERY_PATH
def test_what_is_permitted_is_as_it_is_to_anybody(
    full: tuple[Ward, Ids, Ids], method: str, path: str
) -> None:
    ward, mine, _ = full
    for accept in accepts_of(path) if method == "GET" else ():
        ward.be(None)
        expected = ward.get(mine.fill(path), accept)
        tag = expected.headers.get("etag")
        for kind in ("study", "patient"):
            ward.be(mine.confinement(kind))

            found = ward.get(mine.fill(path), accept)

            if OTHERS in path:
                assert found.status_code in (204, 406)
            elif "xml" in expected.headers.get("content-type", ""):  # another boundary each time
                assert found.status_code == expected.status_code
            else:
                assert told(found, mine) == told(expected, mine)
            if found.status_code == 200 and tag:
                again = ward.get(mine.fill(path), accept, **{"If-None-Match": tag})
                assert again.status_code == 304


@pytest.mark.parametrize("kind", ["study", "patient"])
def test_searches_are_those_of_an_archive_that_has_nothing_else(
    open_ward: Callable[..., Ward], kind: str
) -> None:
    whole, part = open_ward(), open_ward()
    mine, others = some_ids(), some_ids()
    for number in range(4):
        ids = Ids(others.study, f"{others.series}.{number}", f"{others.instance}.{number}")
        whole.store(a_file_of(ids, OTHERS, InstanceNumber=number, StudyDate="20250101"))
        own = Ids(mine.study, f"{mine.series}.{number}", f"{mine.instance}.{number}")
        for one in (whole, part):
            assert one.store(a_file_of(own, MINE, InstanceNumber=number)).status_code == 200
    whole.be(mine.confinement(kind))

    for path in ("/studies", "/series", "/instances"):
        for query in (
            "",
            "?limit=2",
            "?limit=2&offset=1",
            "?limit=2&offset=3",
            "?offset=9",
            "?limit=0",
            "?PatientName=*oe*",
            "?PatientID=P*",
            "?StudyDate=20240101-20260101",
            "?includefield=all",
            "?orderby=-StudyDate",
            "?fuzzymatching=true&PatientName=doe",
            f"?StudyInstanceUID={mine.study},{others.study}",
            f"?StudyInstanceUID={mine.study},{others.study}&PatientComments=x",
        ):
            found, expected = whole.get(path + query), part.get(path + query)
            assert told(found, mine) == told(expected, mine), path + query


def test_somebody_confined_to_nothing_finds_nothing(ward: Ward, mine: Ids, others: Ids) -> None:
    for within in (
        Confinement(frozenset()),
        Confinement(patients=frozenset()),
        Confinement(frozenset(), frozenset()),
    ):
        ward.be(within)
        for path in ("/studies", "/series", "/instances", f"/studies/{mine.study}/series"):
            assert ward.get(path).status_code == 204
        assert ward.get(f"/studies/{mine.study}/metadata").status_code == 404


def test_an_identity_without_lists_knows_of_everything(ward: Ward, mine: Ids, others: Ids) -> None:
    ward.be(Confinement())
    assert len(ward.get("/studies").json()) == 2
    assert ward.get(f"/studies/{others.study}/metadata").status_code == 200


def test_metadata_that_are_ready_and_kept_are_not_for_everybody(ward: Ward, mine: Ids) -> None:
    others = some_ids()
    files = [
        a_file_of(Ids(others.study, others.series, f"{others.instance}.{n}"), OTHERS) for n in range(FEWEST)
    ]
    assert ward.store(*files).status_code == 200
    series = others.fill("/studies/{study}/series/{series}")
    assert ward.archive._index.fold(Resource(others.study)) == 1
    first = ward.get(series + "/metadata")
    again = ward.get(series + "/metadata", **{"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)

    ward.be(mine.confinement("patient"))
    for headers in (
        {},
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": "*"},
        {"If-Match": '"x"'},
    ):
        for coding in ("identity", "gzip", "zstd"):
            hidden = ward.get(series + "/metadata", **{"Accept-Encoding": coding, **headers})
            assert hidden.status_code == 404
            assert "etag" not in hidden.headers


def test_deletion_lets_go_of_what_is_permitted_only(ward: Ward, mine: Ids, others: Ids) -> None:
    ward.be(mine.confinement("patient"))
    for path in ("/studies/{study}/series/{series}/instances/{instance}", "/studies/{study}/series/{series}",
                 "/studies/{study}"):  # fmt: skip
        assert ward.ask("DELETE", others.fill(path)).status_code == 404
    assert ward.ask("DELETE", mine.fill("/studies/{study}")).status_code == 204

    ward.be(None)
    assert ward.get(others.fill("/studies/{study}/metadata")).status_code == 200
    assert ward.get(mine.fill("/studies/{study}/metadata")).status_code == 404


def test_a_presentation_state_does_not_lead_to_images_of_others(ward: Ward, mine: Ids, others: Ids) -> None:
    ids, absent = some_ids(), some_ids()
    for image in (others, absent):
        state = a_state_for(Ids(mine.study, ids.series, new_uid()), image)
        assert ward.store(state).status_code == 200
    ward.be(mine.confinement("patient"))
    states = ward.get(f"/studies/{mine.study}/series/{ids.series}/instances").json()
    answers = [
        ward.get(
            f"/studies/{mine.study}/series/{ids.series}/instances/"
            f"{one['00080018']['Value'][0]}/rendered", "image/jpeg"
        )
        for one in states
    ]  # fmt: skip
    assert len(answers) == 2
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].status_code in (404, 406)
    assert answers[0].json() == answers[1].json()


def a_state_for(ids: Ids, image: Ids) -> bytes:
    """A presentation state of an image, which lies in a study of its own."""
    made = a_data_set(
        study=ids.study, series=ids.series, instance=ids.instance, PatientID=MINE,
        sop_class="1.2.840.10008.5.1.4.1.1.11.1", Modality="PR",
    )  # fmt: skip
    reference, series, area = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, image.instance
    series.SeriesInstanceUID = image.series
    series.ReferencedImageSequence = Sequence([reference])
    made.ReferencedSeriesSequence = Sequence([series])
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [4, 4]
    area.PresentationSizeMode = "SCALE TO FIT"
    made.DisplayedAreaSelectionSequence = Sequence([area])
    made.PresentationLUTShape = "IDENTITY"
    return a_file(made)


def test_a_confined_archive_can_what_the_archive_can(ward: Ward) -> None:
    confined = Confined(ward.archive, Confinement())
    assert isinstance(confined, Forgets)
    assert isinstance(confined, Recalls)
    assert not isinstance(confined, Lacks)
    assert confined.nearby is ward.archive.nearby


PEOPLE = ("A", "B", "C", "")
SOME = st.frozensets(st.sampled_from(range(6)), max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    owners=st.lists(st.sampled_from(PEOPLE), min_size=6, max_size=6),
    patients=st.none() | st.frozensets(st.sampled_from([*PEOPLE, "D"])),
    studies=st.none() | SOME,
)
def test_search_metadata_and_frames_tell_of_what_is_permitted(
    open_ward: Callable[..., Ward],
    owners: list[str],
    patients: frozenset[str] | None,
    studies: frozenset[int] | None,
) -> None:
    ward = open_ward()
    known = [some_ids() for _ in owners]
    files = [a_file_of(ids, owner) for ids, owner in zip(known, owners, strict=True)]
    assert ward.store(*files).status_code == 200
    named = None if studies is None else frozenset(known[number].study for number in studies)
    permitted = {
        ids.study
        for number, (ids, owner) in enumerate(zip(known, owners, strict=True))
        if (studies is None and patients is None)
        or (studies is not None and number in studies)
        or (patients is not None and owner != "" and owner in patients)
    }
    ward.be(Confinement(named, patients))

    found = ward.get("/studies")
    matches = found.json() if found.status_code == 200 else []
    assert {match["0020000D"]["Value"][0] for match in matches} == permitted
    assert found.headers["x-total-count"] == str(len(permitted))
    for ids in known:
        expected = 200 if ids.study in permitted else 404
        for path in ("/metadata", "/series/{series}/instances/{instance}/frames/1", ""):
            assert ward.get(ids.fill("/studies/{study}" + path)).status_code == expected


def test_frames_of_many_are_those_of_who_may_see_them(ward: Ward, mine: Ids) -> None:
    others = some_ids()
    made = add_pixels(
        a_data_set(study=others.study, series=others.series, instance=others.instance, PatientID=OTHERS),
        [bytes(32)] * 3,
    )
    assert ward.store(a_file(made)).status_code == 200
    path = others.fill("/studies/{study}/series/{series}/instances/{instance}/frames/")
    assert ward.get(path + "1,2,3").status_code == 200
    ward.be(mine.confinement("patient"))
    for frames in ("1", "1,2,3", "4", "1/rendered", "2/thumbnail"):
        assert ward.get(path + frames).status_code == 404
