"""What becomes of objects when S3 misbehaves: an error of ours, or the whole object; never a piece of one."""

import time
from collections.abc import Callable

import pytest

from service.dicom.errors import BadExtent, ObjectMissing, StoreUnavailable
from service.dicom.frames import Extent
from service.store.s3.store import S3Store
from tests.contract.test_stores import KEY, keep
from tests.s3_double import Fault
from tests.s3_stores import CLIENTS, Place

BODY = bytes(range(256)) * 64
LARGE = [bytes([number]) * (1 << 20) for number in range(11)]
FULL = f"archive/one/{KEY}"


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def patient(place: Place, client: str) -> S3Store:
    """A store that tries for long."""
    return place.store(client, patience_s=30.0)


@pytest.fixture
def store(place: Place, client: str) -> S3Store:
    """A store that gives up soon."""
    return place.store(client)


def keep_large(store: S3Store, key: str = KEY) -> None:
    upload = store.begin()
    upload.name(key)
    for block in LARGE:
        upload.write(block)
    upload.commit(key)


Use = Callable[[S3Store], object]
USES: dict[str, Use] = {
    "GetObject": lambda store: bytes(store.read(KEY, Extent(5, 100))),
    "PutObject": lambda store: keep(store, "studies/1/2/new.dcm", BODY),
    "DeleteObject": lambda store: store.delete(KEY),
    "ListObjectsV2": lambda store: list(store.keys("studies/")),
    "CreateMultipartUpload": keep_large,
    "UploadPart": keep_large,
    "CompleteMultipartUpload": keep_large,
}


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [
        *((operation, 503, "SlowDown") for operation in USES),
        ("GetObject", 500, "InternalError"),
        ("GetObject", 429, ""),
        ("PutObject", 400, "RequestTimeout"),
    ],
)
def test_what_fails_for_a_moment_is_tried_again(place, patient, operation, status, code):
    keep(patient, KEY, BODY)
    place.double.faults = [Fault(operation, "refuse", 2, status, code)]
    USES[operation](patient)
    assert place.double.faults[0].times == 0


@pytest.mark.parametrize("operation", USES)
def test_what_fails_for_long_is_given_up_in_time(place, store, operation):
    keep(store, KEY, BODY)
    place.double.faults = [Fault(operation, "refuse")]
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as given_up:
        USES[operation](store)
    assert type(given_up.value) is StoreUnavailable
    assert time.monotonic() - begun < 60
    assert place.double.uploads() == []
    assert place.double.keys() == [FULL]
    assert place.double.content(FULL) == BODY


def test_an_answer_that_breaks_off_is_asked_for_again(place, patient):
    keep(patient, KEY, BODY)
    place.double.faults = [Fault("GetObject", "cut", 2)]
    assert bytes(patient.read(KEY, Extent(0, len(BODY)))) == BODY
    place.double.faults = [Fault("GetObject", "cut", 1)]
    assert bytes(patient.opening(KEY, 1000).head) == BODY[:1000]


def test_a_store_that_always_breaks_off_gives_no_bytes(place, store):
    keep(store, KEY, BODY)
    place.double.faults = [Fault("GetObject", "cut")]
    with pytest.raises(StoreUnavailable):
        store.read(KEY, Extent(0, len(BODY)))


def test_a_store_that_does_not_answer_is_given_up(place, client):
    store = place.store(client, attempt_s=0.3, patience_s=0.2)
    keep(place.store(client), KEY, BODY)
    place.double.faults = [Fault("GetObject", "stall")]
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.read(KEY, Extent(0, 10))
    assert time.monotonic() - begun < 60


def test_a_write_whose_answer_is_lost_is_done_once_more(place, patient):
    place.double.faults = [Fault("PutObject", "deny_success", 1)]
    keep(patient, KEY, BODY)
    assert place.double.content(FULL) == BODY


def test_an_upload_whose_end_was_answered_wrongly_counts_if_the_object_is_there(place, patient):
    place.double.faults = [Fault("CompleteMultipartUpload", "deny_success", 1)]
    keep_large(patient)
    assert place.double.content(FULL) == b"".join(LARGE)


def test_an_error_in_an_answer_of_200_is_an_error(place, patient, store):
    place.double.faults = [Fault("CompleteMultipartUpload", "hidden", 1)]
    keep_large(patient)
    assert place.double.content(FULL) == b"".join(LARGE)
    place.double.faults = [Fault("CompleteMultipartUpload", "hidden")]
    with pytest.raises(StoreUnavailable):
        keep_large(store, "studies/1/2/other.dcm")
    assert place.double.keys() == [FULL]
    assert place.double.uploads() == []


def test_an_upload_that_the_store_lost_is_no_success(place, store):
    upload = store.begin()
    upload.name(KEY)
    for block in LARGE:
        upload.write(block)
    place.double.forget_uploads()
    place.double.put(FULL, b"something else")
    with pytest.raises(StoreUnavailable, match="lost"):
        upload.commit(KEY)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_part_that_fails_leaves_nothing(place, store, after):
    place.double.faults = [Fault("UploadPart", "refuse", after=after)]
    with pytest.raises(StoreUnavailable):
        keep_large(store)
    assert place.double.keys() == []
    assert place.double.uploads() == []


def test_uploads_that_could_not_be_ended_are_listed_and_deleted_like_objects(place, store):
    place.double.faults = [Fault("UploadPart", "refuse"), Fault("AbortMultipartUpload", "refuse")]
    with pytest.raises(StoreUnavailable):
        keep_large(store)
    place.double.faults = []
    ((name, age_s),) = store.keys(".incoming/")
    assert name == f".incoming/{place.double.uploads()[0]}/{KEY}"
    assert 0 <= age_s < 60
    assert list(store.keys("studies/")) == []
    store.delete(name)
    store.delete(name)
    assert place.double.uploads() == []


def test_uploads_of_another_prefix_are_not_ours(place, client, store):
    upload = place.store(client, prefix="archive/two").begin()
    upload.name(KEY)
    for block in LARGE:
        upload.write(block)
    assert list(store.keys(".incoming/")) == []
    upload.abort()


def test_a_store_that_cannot_list_uploads_still_lists_objects(place, store):
    keep(store, KEY, BODY)
    place.double.faults = [Fault("ListMultipartUploads", "refuse", status=501, code="NotImplemented")]
    assert [key for key, _ in store.keys("")] == [KEY]


def test_a_stale_list_does_no_harm(place, store):
    keep(store, KEY, BODY)
    place.double.freeze_list()
    store.delete(KEY)
    ((key, _),) = store.keys("studies/")
    store.delete(key)
    with pytest.raises(ObjectMissing):
        store.read(key, Extent(0, 1))


def test_a_list_that_never_ends_is_refused(place, store):
    keep(store, KEY, BODY)
    place.double.ignores_places = True
    with pytest.raises(StoreUnavailable):
        list(store.keys("studies/"))


def test_a_bucket_that_is_gone_is_no_object_that_is_missing(place, store):
    keep(store, KEY, BODY)
    place.double.faults = [Fault("*", "refuse", status=404, code="NoSuchBucket")]
    with pytest.raises(StoreUnavailable) as gone:
        store.read(KEY, Extent(0, 1))
    assert type(gone.value) is StoreUnavailable


def test_a_404_of_something_else_is_no_object_that_is_missing(place, store):
    keep(store, KEY, BODY)
    place.double.faults = [Fault("GetObject", "refuse", status=404, code="")]
    with pytest.raises(StoreUnavailable) as lost:
        store.read(KEY, Extent(0, 1))
    assert type(lost.value) is StoreUnavailable


def test_a_store_that_knows_of_nothing_to_delete_has_deleted_it(place, store):
    place.double.faults = [Fault("DeleteObject", "refuse", status=404, code="NoSuchKey")]
    store.delete(KEY)
    assert place.double.count("DeleteObject") == 1


def test_a_request_that_is_refused_for_good_is_not_tried_again(place, patient):
    keep(patient, KEY, BODY)
    place.double.faults = [Fault("GetObject", "refuse", status=403, code="AccessDenied")]
    with pytest.raises(StoreUnavailable, match="credentials"):
        patient.read(KEY, Extent(0, 1))
    assert place.double.count("GetObject") == 1


def test_ranges_answered_with_everything_are_told_by_one_client_and_read_by_the_other(place, client, store):
    keep(store, KEY, BODY)
    place.double.faults = [Fault("GetObject", "whole")]
    if client == "obstore":
        with pytest.raises(StoreUnavailable, match="ISTHMUS_S3_CLIENT=boto3"):
            store.read(KEY, Extent(300, 100))
        return
    assert bytes(store.read(KEY, Extent(300, 100))) == BODY[300:400]
    assert bytes(store.opening(KEY, 10).head) == BODY[:10]
    with pytest.raises(BadExtent):
        store.read(KEY, Extent(len(BODY) - 1, 2))
    with pytest.raises(BadExtent):
        store.read(KEY, Extent(len(BODY) + 7, 2))


def test_a_body_without_a_name_waits_in_a_file(place, client):
    store = place.store(client, keep_together=3 << 20)
    upload = store.begin()
    for block in LARGE:
        upload.write(block)
    assert [one.operation for one in place.double.seen] == ["HeadBucket"]
    upload.commit(KEY)
    assert place.double.content(FULL) == b"".join(LARGE)
    small = store.begin()
    small.write(LARGE[0] + LARGE[1])
    small.write(LARGE[2] + LARGE[3])
    small.commit("studies/1/2/small.dcm")
    assert place.double.content("archive/one/studies/1/2/small.dcm") == b"".join(LARGE[:4])


def test_large_bodies_go_out_in_parts_of_one_size(place, client):
    store = place.store(client)
    upload = store.begin()
    upload.name(KEY)
    for number in range(13):
        upload.write(bytes([number]) * (2 << 20))
    upload.commit(KEY)
    parts = [one for one in place.double.seen if one.operation == "UploadPart"]
    assert sorted(len(part.body) >> 20 for part in parts) == [1, 5, 5, 5, 5, 5]
    assert len(place.double.content(FULL)) == 26 << 20


def test_a_name_that_changes_is_refused_once_parts_are_out(place, store):
    upload = store.begin()
    upload.name(KEY)
    for block in LARGE:
        upload.write(block)
    with pytest.raises(StoreUnavailable):
        upload.commit("studies/1/2/other.dcm")
    assert place.double.keys() == []
    assert place.double.uploads() == []
