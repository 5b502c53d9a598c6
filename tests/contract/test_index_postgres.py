"""What goes into a PostgreSQL database, and the setting that names one."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.dicom.errors import IndexUnavailable, NotFound
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import InstanceKey, Level, Resource
from service.environment import SettingError, shown
from service.index.open import open_index
from service.index.port import OnDuplicate
from service.index.postgres import PostgresIndex

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE = OnDuplicate.REFUSE, OnDuplicate.REPLACE


def test_frames_of_a_long_table_are_read_without_the_rest(pod: PostgresIndex, a_record: Builder) -> None:
    offsets = list(range(1000, 1000 + 40_000 * 7, 7))
    pod.add([a_record(frames=offsets)], on_duplicate=REFUSE)
    (held,) = pod.locate(Resource("1.1"))
    wanted = [1, 39_999, 2, 20_000, 20_249, 20_600, 1, *random.Random(1).sample(range(1, 39_999), 50)]

    extents = pod.frames(held, wanted)

    assert extents is not None
    assert [(extent.offset, extent.length) for extent in extents] == [(1000 + (n - 1) * 7, 7) for n in wanted]
    for beyond in (0, -1, 40_000, 1 << 40):
        with pytest.raises(NotFound):
            pod.frames(held, [1, beyond])


def test_texts_too_long_for_an_index_are_matched_by_their_beginning(
    pod: PostgresIndex, a_record: Builder
) -> None:
    noise = random.Random(3)
    long = "X" + "".join(chr(noise.randint(0x4E00, 0x9FFF)) for _ in range(6000))
    pod.add([a_record(x00100010=long, x00100020=long, x00080050=[long, long])], on_duplicate=REFUSE)

    found = pod.find(Query.from_url(Level.STUDY, [("PatientName", long[:500] + "*")])).matches

    assert len(found) == 1
    assert long.encode() in found[0]


def test_an_instance_is_removed_once(pod: PostgresIndex, a_record: Builder) -> None:
    pod.add([a_record("1.1", "1.1.1", "1.1.1.1", frames=[1, 2])], on_duplicate=REFUSE)

    assert len(pod.remove(Resource("1.1", "1.1.1", "1.1.1.1"))) == 1
    assert pod.remove(Resource("1.1", "1.1.1", "1.1.1.1")) == []
    with pytest.raises(NotFound):
        pod.findings(InstanceKey("1.1", "1.1.1", "1.1.1.1"))


def test_the_setting_opens_the_database_it_names(postgres_url: str) -> None:
    index = open_index(postgres_url, connections=3)
    index.ready()

    assert isinstance(index, PostgresIndex)
    index.close()


def test_a_url_that_cannot_be_read_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingError, match="ISTHMUS_INDEX") as raised:
        open_index("postgresql://user:secret@host:port/x?nonsense=1")

    assert "secret" not in str(raised.value)


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable) as raised:
        open_index(f"postgresql://user:secret@/x?host={tmp_path}")

    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:pass@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://host/db?user=me&password=pass&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host/db?sslpassword=pass", "postgresql://me@host/db?sslpassword=***"),
        ("sqlite://./data/index.db", "sqlite://./data/index.db"),
    ],
)
def test_passwords_are_not_shown(url: str, told: str) -> None:
    assert shown(url) == told


def test_the_driver_is_loaded_by_those_who_need_it() -> None:
    code = "import sys, service.archive.open; sys.exit('psycopg' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
