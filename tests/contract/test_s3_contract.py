"""The contract of object stores on S3: by both clients, on our double and on servers of others."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from service.store.port import ObjectStore
from service.store.s3.options import S3Options
from service.store.s3.store import S3Store
from tests.contract.test_stores import KEY, StoreContract, keep
from tests.e2e.conftest import free_port
from tests.s3_double import ACCESS, BUCKET, SECRET
from tests.s3_stores import CLIENTS, Place, aws_environment


class TestOnTheDouble(StoreContract):
    @pytest.fixture(params=CLIENTS)
    def store(self, place: Place, request: pytest.FixtureRequest) -> ObjectStore:
        return place.store(request.param)

    def test_a_digest_is_in_the_metadata_of_what_goes_out_whole(self, store):
        upload = store.begin()
        upload.write(b"abc")
        upload.commit(KEY, lambda: bytes(range(32)))
        assert store.opening(KEY, 1).digest == bytes(range(32))

    def test_everything_lies_below_the_prefix(self, store, place):
        keep(store, KEY, b"abc")
        assert place.double.keys() == [f"archive/one/{KEY}"]
        assert [key for key, _ in store.keys("")] == [KEY]
        assert [key for key, _ in place.store(prefix="archive/on").keys("")] == []

    def test_long_lists_come_in_pages(self, store, place):
        place.double.frozen_list = [f"archive/one/studies/1/{number:05}.dcm" for number in range(2_345)]
        assert len({key for key, _ in store.keys("studies/1/0")}) == 2_345
        assert place.double.count("ListObjectsV2") >= 3


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class TestOnMoto(StoreContract):
    @pytest.fixture(params=CLIENTS)
    def store(
        self, moto: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> ObjectStore:
        aws_environment(monkeypatch)
        bucket = f"bucket-{time.time_ns()}"
        boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket=bucket)
        return S3Store(S3Options(bucket, "archive", moto, client=request.param))


def rclone() -> str:
    """A program of rclone that serves S3, which Debian 12's does not."""
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        pytest.skip("rclone is not installed.")
    asked = subprocess.run([found, "serve", "s3", "--help"], capture_output=True, timeout=20, check=False)
    if asked.returncode != 0:
        pytest.skip("This rclone serves no S3: it is older than 1.65.")
    return found


@pytest.fixture(scope="module")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("rclone")
    (folder / BUCKET).mkdir()
    port = free_port()
    command = [rclone(), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    command += ["--auth-key", f"{ACCESS},{SECRET}", "--config", os.devnull]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if "Starting s3 server" in line:
                break
        else:
            pytest.fail("rclone did not start.")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)
        server.stderr.close()


class TestOnRclone(StoreContract):
    """A store that answers ranges with status 200: the fallback client reads from it."""

    @pytest.fixture
    def store(self, rclone_server: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        aws_environment(monkeypatch)
        return S3Store(S3Options(BUCKET, f"p{time.time_ns()}", rclone_server, client="boto3"))
