"""A bridge is told to store by itself where that can be, and nowhere else."""

import threading
from collections.abc import Mapping

import pytest

from bridge.settings import read_settings
from service.dicom.errors import Busy
from service.environment import SettingError
from service.settings import Settings
from service.starting import _beside
from service.web.rim import Crossing

ITSELF = {"ISTHMUS_BRIDGE_STORES_BY": "itself"}


def test_it_stores_by_http_unless_it_is_told_otherwise():
    assert read_settings({}).own is None


def test_it_stores_where_the_service_does():
    own = read_settings(
        {**ITSELF, "ISTHMUS_STORE": "file:///srv/objects", "ISTHMUS_MAX_INSTANCE": "1MiB"}
    ).own

    assert own is not None
    assert (own.store, own.max_instance) == ("file:///srv/objects", 1 << 20)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ISTHMUS_STORE": "memory://"}, "ISTHMUS_STORE"),
        ({"ISTHMUS_INDEX": "memory://"}, "ISTHMUS_INDEX"),
        ({"ISTHMUS_ARCHIVE_URL": "http://pacs.example.org/dicom-web"}, "ISTHMUS_ARCHIVE_URL"),
        ({"ISTHMUS_BRIDGE_STORES_BY": "hand"}, "ISTHMUS_BRIDGE_STORES_BY"),
    ],
)
def test_what_the_service_would_not_see_is_no_place_to_store(environ: Mapping[str, str], named: str):
    with pytest.raises(SettingError, match=named):
        read_settings({**ITSELF, **environ})


@pytest.mark.parametrize(
    ("environ", "by"),
    [
        ({}, "itself"),
        ({"ISTHMUS_BRIDGE_STORES_BY": "http"}, "http"),
        ({"ISTHMUS_STORE": "s3://studies"}, None),
        ({"ISTHMUS_INDEX": "postgresql://127.0.0.1/studies"}, None),
        ({"ISTHMUS_ARCHIVE_URL": "http://pacs.example.org/dicom-web"}, None),
        ({"ISTHMUS_ARCHIVE_TOKEN_FILE": "/run/token"}, None),
    ],
)
def test_started_together_the_bridge_stores_in_files_by_itself(environ: Mapping[str, str], by: str | None):
    found = _beside(Settings.from_environment(environ), environ)

    assert found.get("ISTHMUS_BRIDGE_STORES_BY") == by


def test_a_thread_that_cannot_be_started_counts_for_nothing(monkeypatch):
    crossing = Crossing("stores", threads=1, queue=0)

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_more)
        for _ in range(5):
            with pytest.raises(Busy):
                crossing.begin(int)

    assert crossing.inside == 0
    crossing.close()
