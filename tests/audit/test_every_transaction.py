"""Every transaction leaves one event: of the right kind, about the right study, and without a name."""

from dataclasses import dataclass

import pytest

from service.access.settings import AccessSettings
from service.audit import codes
from service.web.audited import EVENTS, SILENT
from service.web.metrics import TRANSACTIONS
from tests.making import a_ct
from tests.sites import ROOT

STUDY, SERIES, INSTANCE = "1.2.1", "1.2.2", "1.2.3"
AT_STUDY = f"/studies/{STUDY}"
AT_SERIES = f"{AT_STUDY}/series/{SERIES}"
AT_INSTANCE = f"{AT_SERIES}/instances/{INSTANCE}"
NAME, ID = "Doe^Jane", "SECRET-4711"


@dataclass(frozen=True)
class Row:
    """One transaction: how it is asked for, and the event that it leaves."""

    identity: str
    path: str
    what: codes.Code
    method: str = "GET"
    action: str = codes.READ
    accept: str = "*/*"


SENT, SEEN = codes.INSTANCES_TRANSFERRED, codes.INSTANCES_ACCESSED
MANY = 'multipart/related; type="application/octet-stream"'


def queried(identity: str, path: str) -> Row:
    return Row(identity, path, codes.QUERY, action=codes.EXECUTE)


URI = f"requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}"
ROWS = (
    queried("SearchForStudies", f"/studies?PatientName={NAME}&PatientID={ID}"),
    queried("SearchForSeries", f"/series?PatientName={NAME}"),
    queried("SearchForInstances", f"/instances?includefield=PatientName&PatientName={NAME}"),
    queried("SearchForStudySeries", f"{AT_STUDY}/series?PatientName={NAME}"),
    queried("SearchForStudyInstances", f"{AT_STUDY}/instances"),
    queried("SearchForStudySeriesInstances", f"{AT_SERIES}/instances"),
    Row("StoreInstances", "/studies", SENT, "POST", codes.CREATE),
    Row("StoreStudyInstances", AT_STUDY, SENT, "POST", codes.CREATE),
    Row("RetrieveStudy", AT_STUDY, SENT),
    Row("RetrieveSeries", AT_SERIES, SENT),
    Row("RetrieveInstance", AT_INSTANCE, SENT),
    Row("RetrieveFrames", AT_INSTANCE + "/frames/1", SENT),
    Row("RetrieveAllFrames", AT_INSTANCE + "/frames", SENT),
    Row("RetrieveBulkdata", AT_INSTANCE + "/bulkdata/7FE00010", SENT),
    Row("RetrieveBulk", AT_INSTANCE + "/bulk/7FE00010", SENT),
    Row("RetrieveInstanceBulkdata", AT_INSTANCE + "/bulkdata", SENT, accept=MANY),
    Row("RetrieveSeriesBulkdata", AT_SERIES + "/bulkdata", SENT, accept=MANY),
    Row("RetrieveStudyBulkdata", AT_STUDY + "/bulkdata", SENT, accept=MANY),
    Row("RetrieveInstancePixelData", AT_INSTANCE + "/pixeldata", SENT, accept=MANY),
    Row("RetrieveSeriesPixelData", AT_SERIES + "/pixeldata", SENT, accept=MANY),
    Row("RetrieveStudyPixelData", AT_STUDY + "/pixeldata", SENT, accept=MANY),
    Row("RetrieveStudyMetadata", AT_STUDY + "/metadata", SEEN),
    Row("RetrieveSeriesMetadata", AT_SERIES + "/metadata", SEEN),
    Row("RetrieveInstanceMetadata", AT_INSTANCE + "/metadata", SEEN),
    Row("RetrieveRenderedStudy", AT_STUDY + "/rendered", SEEN),
    Row("RetrieveRenderedSeries", AT_SERIES + "/rendered", SEEN),
    Row("RetrieveRenderedInstance", AT_INSTANCE + "/rendered", SEEN),
    Row("RetrieveRenderedFrames", AT_INSTANCE + "/frames/1/rendered", SEEN),
    Row("RetrieveStudyThumbnail", AT_STUDY + "/thumbnail", SEEN),
    Row("RetrieveSeriesThumbnail", AT_SERIES + "/thumbnail", SEEN),
    Row("RetrieveInstanceThumbnail", AT_INSTANCE + "/thumbnail", SEEN),
    Row("RetrieveFramesThumbnail", AT_INSTANCE + "/frames/1/thumbnail", SEEN),
    Row("RetrieveFindings", AT_INSTANCE + "/findings", SEEN),
    Row("RetrieveInstanceByURI", f"/wado?{URI}", SENT),
    Row("RetrieveInstanceByURIOfTheRoot", f"/?{URI}", SENT),
    Row("DeleteStudy", AT_STUDY, codes.STUDY_DELETED, "DELETE", codes.DELETE),
    Row("DeleteSeries", AT_SERIES, SEEN, "DELETE", codes.DELETE),
    Row("DeleteInstance", AT_INSTANCE, SEEN, "DELETE", codes.DELETE),
)


def an_image() -> bytes:
    return a_ct(study=STUDY, series=SERIES, instance=INSTANCE, PatientName=NAME, PatientID=ID)


def ask(site, row: Row):
    if row.method == "POST":
        return site.post(an_image(), path=row.path)
    site.post(an_image())
    return site.client.request(row.method, ROOT + row.path, headers={"Accept": row.accept})


def test_every_transaction_is_told_of_or_is_known_to_tell_nobody_anything():
    assert {*EVENTS} | SILENT == {*TRANSACTIONS}
    assert not {*EVENTS} & SILENT


def test_every_kind_of_event_has_its_row_here():
    assert {row.identity for row in ROWS} | {"ShareStudy"} == {*EVENTS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.identity)
def test_a_transaction_leaves_one_event_without_a_name(watch, row: Row):
    site = watch()

    response = ask(site, row)

    assert response.status_code in (200, 204), response.text
    *before, event = site.told()
    assert len(before) == (0 if row.method == "POST" else 1)
    assert (event.what, event.action, event.outcome) == (row.what, row.action, codes.SUCCESS)
    assert event.details["Transaction"] == row.identity
    assert event.request == response.headers["X-Request-ID"]
    assert sum(one.requestor for one in event.participants) == 1
    about_a_study = row.what is not codes.QUERY or row.path.startswith(AT_STUDY)
    assert [*event.studies] == ([STUDY] if about_a_study else [])
    text = site.sink.text
    assert "Doe" not in text
    assert "Jane" not in text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.identity)
def test_patients_are_told_where_that_is_wanted(watch, row: Row):
    with_patients, without = watch(), watch(patients=False)

    ask(with_patients, row)
    ask(without, row)

    named = row.what is not codes.QUERY or row.path.startswith(AT_STUDY) or ID in row.path
    assert with_patients.told()[-1].patients == ((ID,) if named else ())
    assert [one.patients for one in without.told()] == [()] * len(without.sink.events)
    assert ID not in without.sink.text


def test_what_tells_nothing_of_patients_leaves_no_event(watch):
    site = watch()

    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/api", "/config.json", "/", "/nowhere"):
        site.get("http://testserver" + path)
    site.client.options(ROOT + "/")

    assert site.told() == []


def test_who_may_not_come_in_is_told_of_once(watch, tmp_path):
    people = tmp_path / "people"
    people.write_text(f"alice:$2b$04${'.' * 53}\n")
    site = watch(access=AccessSettings(ways=("basic",), passwords_file=people))

    answers = [site.get(AT_STUDY), site.get("/studies", Authorization="Bearer x"), site.post(an_image())]

    assert [one.status_code for one in answers] == [401] * 3
    told = [(one.what, one.types, one.outcome, one.participants[0].user) for one in site.told()]
    refused = (codes.USER_AUTHENTICATION, (codes.LOGIN,), codes.SERIOUS_FAILURE, "anonymous")
    assert told == [refused] * 3
