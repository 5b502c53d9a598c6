"""Who the S3 store is and where it goes: credentials, region, bucket, settings."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from moto.server import ThreadedMotoServer

from service.dicom.errors import StoreUnavailable
from service.dicom.frames import Extent
from service.environment import SettingError
from service.settings import Settings
from service.store.open import is_nearby, open_store
from service.store.s3 import session as sessions
from service.store.s3 import store as stores
from service.store.s3.by_obstore import ObstoreClient
from service.store.s3.options import S3Options, s3_options
from service.store.s3.session import Credentials
from service.store.s3.store import S3Store
from tests.s3_certificates import write_certificates
from tests.s3_double import ACCESS, BUCKET, SECRET
from tests.s3_stores import CLIENTS, Place, aws_environment, stage

KEY = "studies/1/2/3.a.dcm"


def works(store: S3Store) -> bool:
    """Whether an object goes there and back, by both of the libraries."""
    for name, size in (("small", 3), ("large", 9 << 20)):
        upload = store.begin()
        upload.name(name)
        upload.write(bytes(size))
        upload.commit(name)
        if bytes(store.read(name, Extent(0, 3))) != bytes(3):
            return False
    return True


def opened(place: Place, client: str = "obstore", bucket: str = BUCKET) -> S3Store:
    store = open_store(f"s3://{bucket}/some/where", s3_endpoint=place.endpoint, s3_client=client)
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize("client", CLIENTS)
def test_credentials_come_from_the_environment(place, client):
    assert works(opened(place, client))
    assert {one.key for one in place.double.seen if one.key} == {"some/where/small", "some/where/large"}


@pytest.mark.parametrize("client", CLIENTS)
def test_credentials_come_from_a_profile_in_files(place, client, monkeypatch, tmp_path):
    aws_environment(monkeypatch, AWS_PROFILE="pictures")
    secret = f"[pictures]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(secret)
    (tmp_path / "config").write_text("[profile pictures]\nregion = eu-south-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert works(opened(place, client))
    assert all("/eu-south-1/s3/" in one.headers["authorization"] for one in place.double.seen)


@pytest.mark.parametrize("client", CLIENTS)
def test_credentials_come_from_a_web_identity(place, client, monkeypatch, tmp_path):
    # given: a token of a pod, and somebody who gives credentials for it
    (tmp_path / "token").write_text("a.b.c")
    tokens = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    tokens.start()
    host, port = tokens.get_host_and_port()
    aws_environment(
        monkeypatch,
        AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"),
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/pictures",
        AWS_ENDPOINT_URL_STS=f"http://{host}:{port}",
        AWS_REGION="us-east-1",
    )
    known: dict[str, str | None] = {}

    def told(options: S3Options) -> sessions.S3Session:
        session = sessions.open_session(options)
        given = session.credentials()
        known["token"] = given.get("token")
        place.double.secrets = {given["access_key_id"]: given["secret_access_key"]}
        return session

    monkeypatch.setattr(stores, "open_session", told)
    try:
        # when
        assert works(opened(place, client))
        # then
        seen = [one for one in place.double.seen if one.key]
        assert {one.headers["x-amz-security-token"] for one in seen} == {known["token"]}
    finally:
        tokens.stop()


def test_credentials_that_were_renewed_are_used(place, monkeypatch):
    # given: a store whose credentials are asked for each time
    monkeypatch.setattr(sessions, "_KEPT", timedelta(0))
    source = SimpleNamespace(access_key="first", secret_key="one", token=None)
    source.get_frozen_credentials = lambda: source
    place.double.secrets["first"] = "one"
    store = opened(place)
    store._client = sessions_client(place, Credentials(source))
    place.double.put("some/where/" + KEY, b"abc")
    assert bytes(store.read(KEY, Extent(0, 3))) == b"abc"
    # when
    del place.double.secrets["first"]
    place.double.secrets["second"] = "two"
    with pytest.raises(StoreUnavailable):
        store.read(KEY, Extent(0, 3))
    source.access_key, source.secret_key = "second", "two"
    # then
    deadline = time.monotonic() + 60
    while True:
        try:
            assert bytes(store.read(KEY, Extent(0, 3))) == b"abc"
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline


def sessions_client(place: Place, credentials: Credentials):
    session = sessions.S3Session(None, credentials, "us-east-1", place.endpoint, None)
    return ObstoreClient(session, S3Options(BUCKET, endpoint=place.endpoint))


def test_credentials_are_kept_for_less_than_boto3_promises_them():
    source = SimpleNamespace(access_key="a", secret_key="b", token="c")
    source.get_frozen_credentials = lambda: source
    given = Credentials(source)()
    assert (given["access_key_id"], given["secret_access_key"], given["token"]) == ("a", "b", "c")
    assert given["expires_at"] is not None
    assert given["expires_at"] - datetime.now(UTC) < timedelta(minutes=10)


def test_no_credentials_at_all_is_told_at_the_start(place, monkeypatch):
    aws_environment(monkeypatch, AWS_REGION="us-east-1")
    with pytest.raises(SettingError, match="AWS_ACCESS_KEY_ID"):
        opened(place)


def test_a_profile_that_is_none_is_told_at_the_start(place, monkeypatch):
    aws_environment(monkeypatch, AWS_PROFILE="nobody")
    with pytest.raises(SettingError, match="AWS settings"):
        opened(place)


def test_a_bucket_that_does_not_exist_is_told_at_the_start(place):
    with pytest.raises(SettingError, match="'other-pictures', which does not exist"):
        opened(place, bucket="other-pictures")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_secret_is_told_without_it(place, client, monkeypatch, caplog):
    aws_environment(monkeypatch, AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY="wrong-secret")
    store = opened(place, client)
    with pytest.raises(StoreUnavailable, match="refuses the credentials") as refused:
        store.read(KEY, Extent(0, 1))
    assert "wrong-secret" not in str(refused.value) + caplog.text


def test_a_store_that_is_down_at_the_start_is_waited_for(place, monkeypatch, caplog):
    options = S3Options(BUCKET, endpoint="http://127.0.0.1:9", connect_s=0.5, patience_s=0.1)
    store = S3Store(options)
    assert "not_reached" in caplog.text
    with pytest.raises(StoreUnavailable):
        store.read(KEY, Extent(0, 1))


def test_certificates_and_checksums_are_as_for_other_tools_of_aws(tmp_path, monkeypatch):
    """Over TLS and without our own endpoint setting, boto3 sends checksums in trailers."""
    write_certificates(tmp_path)
    files = {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    with stage(**files) as served:
        place = served.appear(tmp_path / "double")
        aws_environment(
            monkeypatch,
            AWS_ACCESS_KEY_ID=ACCESS,
            AWS_SECRET_ACCESS_KEY=SECRET,
            AWS_CA_BUNDLE=str(tmp_path / "authority.pem"),
            AWS_ENDPOINT_URL_S3=place.endpoint,
        )
        for client in CLIENTS:
            store = S3Store(S3Options(BUCKET, client, client=client))
            assert works(store)
        sent = {
            one.headers.get("x-amz-trailer") for one in place.double.seen if one.operation == "UploadPart"
        }
        assert sent == {"x-amz-checksum-crc32"}


@pytest.mark.parametrize(
    "path", ["", "/x", "a b/x", "bucket/a//b", "bucket/../x", "bucket/ä", "ab@host/x", "bucket/a//"]
)
def test_a_place_that_is_none_names_the_setting(path):
    with pytest.raises(SettingError, match="ISTHMUS_STORE"):
        s3_options(path, endpoint="", client="obstore", connections=1)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://x", "http://", "http://user:secret@host", "http://host/path"]
)
def test_an_endpoint_that_is_none_names_the_setting_and_no_secret(endpoint):
    with pytest.raises(SettingError, match="ISTHMUS_S3_ENDPOINT") as told:
        s3_options("bucket", endpoint=endpoint, client="obstore", connections=1)
    assert "secret" not in str(told.value)


def test_a_place_in_a_bucket_may_end_in_a_slash():
    options = s3_options("bucket/a/b/", endpoint="http://host:9000/", client="boto3", connections=7)
    assert (options.bucket, options.prefix, options.endpoint) == ("bucket", "a/b", "http://host:9000")


def test_a_store_far_away_gets_more_threads():
    near = Settings.from_environment({"ISTHMUS_STORE": "file://./x"})
    far = Settings.from_environment({"ISTHMUS_STORE": "s3://bucket", "ISTHMUS_S3_CLIENT": "boto3"})
    assert far.read_threads > near.read_threads
    assert far.write_threads > near.write_threads
    assert (far.s3_client, near.s3_client) == ("boto3", "obstore")
    assert is_nearby(near.store)
    assert not is_nearby(far.store)
    with pytest.raises(SettingError, match="ISTHMUS_S3_CLIENT"):
        Settings.from_environment({"ISTHMUS_S3_CLIENT": "curl"})


def test_who_keeps_files_does_not_load_what_s3_takes():
    code = (
        "import sys, service.archive.open, service.serving; "
        "print([name for name in ('boto3', 'botocore', 'obstore') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.strip() == "[]"
