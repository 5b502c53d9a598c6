"""Objects that are put into the store first and entered afterwards, in memory and as a cache has them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.archive.port import Outcome, Refused, Stored
from service.dicom.errors import NotFound, StoreUnavailable
from service.dicom.frames import Extent
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Resource
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.port import ObjectStore, Upload
from tests.making import a_ct, a_data_set, a_file, add_pixels

STUDY, SERIES = "1.2.3", "1.2.3.4"


def key(number: int = 1, *, study: str = STUDY, series: str = SERIES) -> InstanceKey:
    return InstanceKey(study, series, f"{series}.{number}")


def a_slice(number: int = 1, *, study: str = STUDY, series: str = SERIES, value: int = 0) -> bytes:
    name = key(number, study=study, series=series)
    return a_ct(
        (bytes([value]) * 32,), study=study, series=series, instance=name.instance, InstanceNumber=number
    )


@dataclass
class Place:
    """An archive, and its store."""

    archive: ObjectArchive
    store: ObjectStore

    @property
    def objects(self) -> list[str]:
        return sorted(name for name, _ in self.store.keys("studies/"))

    def held(self, study: str = STUDY) -> Sequence[Held]:
        try:
            return self.archive.instances(Resource(study))
        except NotFound:
            return ()

    def read(self, held: Held) -> bytes:
        return bytes(self.archive.read(held, Extent(0, held.size)))

    def place(self, content: bytes, name: InstanceKey, *, size: int = 300) -> str:
        return self.archive.place(name, [content[at : at + size] for at in range(0, len(content), size)])

    def enter(self, names: Sequence[str]) -> Sequence[Outcome]:
        """Enter what was placed; what is not to stay is deleted."""
        outcomes, left = self.archive.enter(names, STUDY)
        self.archive.discard(left)
        return outcomes

    def take(self, content: bytes) -> Outcome:
        """As `content` is taken ordinarily."""
        intake = self.archive.intake(STUDY)
        intake.begin()
        intake.write(memoryview(content))
        intake.end()
        (outcome,) = intake.finish()
        return outcome


def in_memory(folder: Path) -> Place:
    store = MemoryStore()
    limits = IntakeLimits(1 << 20, 100, 64 << 20)
    return Place(ObjectArchive(store, MemoryIndex(), limits=limits, on_duplicate=OnDuplicate.REPLACE), store)


def on_disk(folder: Path) -> Place:
    settings = Settings(
        store=f"file://{folder}/objects",
        index=f"sqlite://{folder}/index.db",
        on_duplicate="replace",
        durable=False,
        write_threads=0,
    )
    archive = open_archive(settings)
    return Place(archive, archive._store)


@pytest.fixture(params=[in_memory, on_disk])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    """Opens archives of one kind, each by a name of its own."""
    places: list[Place] = []

    def open_one(name: str = "one") -> Place:
        folder = tmp_path / name
        folder.mkdir()
        places.append(request.param(folder))
        return places[-1]

    yield open_one
    for one in places:
        one.archive.close()


@pytest.fixture
def place(opened: Callable[[str], Place]) -> Place:
    return opened("one")


def described(one: Place) -> list[tuple[bytes, str]]:
    documents = one.archive.documents(Resource(STUDY))
    assert documents is not None
    return list(documents)


def test_what_is_placed_is_found_only_when_it_is_entered(place: Place) -> None:
    name = place.place(a_slice(), key())

    before = place.held()
    outcomes = place.enter([name])

    assert before == ()
    assert outcomes == [Stored(key(), outcomes[0].sop_class)]
    assert [one.object_key for one in place.held()] == [name] == place.objects


@pytest.mark.parametrize("rows", [4, 1024], ids=["small", "of several blocks"])
def test_what_is_entered_is_what_an_intake_makes_of_it(opened: Callable[[str], Place], rows: int) -> None:
    made = a_data_set(study=STUDY, series=SERIES, instance=key().instance)
    content = a_file(add_pixels(made, [bytes(range(64)) * 48 * rows], rows=rows, columns=1536))
    ours, theirs = opened("ours"), opened("theirs")

    outcomes = ours.enter([ours.place(content, key(), size=1 << 16)])

    assert outcomes == [theirs.take(content)]
    (one,), (other,) = ours.held(), theirs.held()
    assert ours.read(one) == theirs.read(other) == content
    parts = ["key", "sop_class", "syntax", "size", "digest", "shape", "pixels", "data_offset"]
    assert [getattr(one, part) for part in parts] == [getattr(other, part) for part in parts]
    assert described(ours) == described(theirs)


def test_many_are_entered_in_order(place: Place) -> None:
    names = [place.place(a_slice(number), key(number)) for number in range(1, 151)]

    outcomes = place.enter(names)

    assert [one.key for one in outcomes if isinstance(one, Stored)] == [key(n) for n in range(1, 151)]
    assert {one.key.instance: place.read(one) for one in place.held()} == {
        key(number).instance: a_slice(number) for number in range(1, 151)
    }


def refused(place: Place, content: bytes, name: InstanceKey) -> Refused:
    """How the middle one of three is refused; the others are there."""
    names = [place.place(a_slice(8), key(8)), place.place(content, name), place.place(a_slice(9), key(9))]
    first, outcome, last = place.enter(names)
    assert isinstance(outcome, Refused)
    assert isinstance(first, Stored) and isinstance(last, Stored)
    assert [one.key for one in place.held()] == [key(8), key(9)]
    assert place.objects == sorted((names[0], names[2]))
    return outcome


def test_what_is_refused_is_there_until_it_is_discarded(place: Place) -> None:
    names = [place.place(a_slice(2), key(1)), place.place(a_slice(3), key(3))]

    outcomes, left = place.archive.enter(names, STUDY)

    assert [type(one) for one in outcomes] == [Refused, Stored]
    assert left == names[:1]
    assert place.objects == sorted(names)
    place.archive.discard(left)
    assert place.objects == names[1:]


def test_an_object_of_another_study_is_refused_and_deleted(place: Place) -> None:
    other = a_slice(1, study="1.2.9", series="1.2.9.4")

    assert refused(place, other, key(1, study="1.2.9", series="1.2.9.4")).reason == 0xA901
    assert place.held("1.2.9") == ()


def test_an_object_of_another_study_than_it_was_placed_in_is_refused_and_deleted(place: Place) -> None:
    assert refused(place, a_slice(1, study="1.2.9", series="1.2.9.4"), key()).reason == 0xA901
    assert place.held("1.2.9") == ()


@pytest.mark.parametrize(
    "name",
    [
        key(2), InstanceKey(STUDY, f"{STUDY}.5", f"{SERIES}.1"), InstanceKey(STUDY, SERIES, f"{SERIES}.1.1"),
        InstanceKey(STUDY, SERIES, f"{SERIES}."), InstanceKey("1.2.4", SERIES, f"{SERIES}.1"),
    ],
    ids=["instance", "series", "longer name", "shorter name", "study"],
)  # fmt: skip
def test_another_instance_than_it_was_placed_as_is_refused_and_deleted(
    place: Place, name: InstanceKey
) -> None:
    assert refused(place, a_slice(1), name).reason == 0xA900


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, a_slice()[:-10], a_slice()[:200]])
def test_what_is_damaged_is_refused_and_deleted(place: Place, content: bytes) -> None:
    assert refused(place, content, key()).reason == 0xC000


def test_what_vanished_is_refused_and_the_others_are_entered(place: Place) -> None:
    names = [place.place(a_slice(number), key(number)) for number in (1, 2, 3)]
    place.store.delete(names[1])

    outcomes = place.enter(names)

    assert [type(one) for one in outcomes] == [Stored, Refused, Stored]
    assert [one.key for one in place.held()] == [key(1), key(3)]
    assert place.objects == sorted((names[0], names[2]))


@pytest.mark.parametrize("together", [True, False], ids=["at once", "one after the other"])
def test_what_is_there_already_leaves_one_object(place: Place, together: bool) -> None:
    names = [place.place(a_slice(), key()) for _ in range(2)]

    rounds = [names] if together else [[name] for name in names]
    outcomes = [outcome for some in rounds for outcome in place.enter(some)]

    assert [type(one) for one in outcomes] == [Stored, Stored]
    assert [isinstance(one, Stored) and one.already for one in outcomes] == [False, True]
    (held,) = place.held()
    assert [held.object_key] == place.objects
    assert place.read(held) == a_slice()


def test_what_is_there_with_other_content_is_replaced(place: Place) -> None:
    place.take(a_slice(value=1))

    place.enter([place.place(a_slice(value=2), key())])

    (held,) = place.held()
    assert place.read(held) == a_slice(value=2)
    assert [held.object_key] == place.objects


def test_what_is_never_entered_is_swept(place: Place) -> None:
    kept, left = place.place(a_slice(1), key(1)), place.place(a_slice(2), key(2))
    place.enter([kept])

    swept = place.archive.sweep(older_than_s=-1.0)

    assert swept.orphans == 1
    assert place.objects == [kept]
    assert left != kept


def test_what_cannot_be_placed_leaves_nothing() -> None:
    class Full(MemoryStore):
        aborted = 0

        def begin(self) -> Upload:
            upload = super().begin()
            honest = upload.abort

            def write(block: object) -> None:
                raise StoreUnavailable("The disk is full.")

            def abort() -> None:
                self.aborted += 1
                honest()

            upload.write, upload.abort = write, abort  # type: ignore[method-assign]
            return upload

    store = Full()
    archive = ObjectArchive(store, MemoryIndex(), limits=IntakeLimits(1 << 20, 100, 64 << 20))
    with pytest.raises(StoreUnavailable):
        archive.place(key(), [a_slice()])
    archive.close()

    assert (store.aborted, list(store.keys())) == (1, [])
