"""A synthetic archive of any size: what each study, series and instance says, told by its number alone.

Ten studies in a row have 30 series and 100 instances, of ten modalities. `record` makes an instance as
ingest does; `rows_of` makes the rows that the index would have written of a study, from templates that the
index's own functions were asked for once, so that a million studies take minutes.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import zstandard

from service.dicom.describing import describe
from service.dicom.frames import Extent, FrameTable, PixelPlace, PixelShape
from service.dicom.record import InstanceRecord
from service.dicom.resource import InstanceKey, Level
from service.index.rows import COLUMNS, DESCRIBED, STORED, described, stored
from tests.bench.scale_people import ASSUMED, ASSUMED_DIGEST, Identity, form, identity
from tests.bench.scale_saying import elements

PER_ROUND = 10  # studies after which the shapes come again
PLACE = "s3://archive"
_EXPLICIT, _JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
_CLASS = "1.2.840.10008.5.1.4.1.1."
_FOREIGN_EACH = 100  # rounds

TABLES = {
    "study": (
        *("id", "study_uid", "source", *COLUMNS[Level.STUDY], *DESCRIBED),
        *("modalities", "series_count", "study_count"),
    ),
    "series": (
        *("id", "study", "series_uid", "dictionary", "source", *COLUMNS[Level.SERIES], *DESCRIBED),
        "series_size",
    ),
    "instance": ("id", "series", "json", *STORED, *COLUMNS[Level.INSTANCE], *DESCRIBED),
    "series_class": ("study", "series", "sop_class", "size"),
    "request": ("id", "series", "step_id", "procedure_id"),
    "frames": ("id", "table"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of study: its modality, the class of its instances and how many of them each series has."""

    modality: str
    sop_class: str
    sizes: tuple[int, ...]
    what: str
    frames: int = 0
    """Frames of each instance, encapsulated; none for native single frames."""


SHAPES = (
    Shape("CT", f"{_CLASS}2", (1, 12, 8, 2, 1), "CT chest and abdomen"),
    Shape("DX", f"{_CLASS}1.1", (1, 1), "Chest two views"),
    Shape("MR", f"{_CLASS}4", (1, 6, 6, 5, 2, 1), "MR brain with contrast"),
    Shape("DX", f"{_CLASS}1.1", (2,), "Hand left"),
    Shape("US", f"{_CLASS}3.1", (9, 1), "US abdomen", frames=20),
    Shape("CR", f"{_CLASS}1", (1, 1), "Knee right"),
    Shape("CT", f"{_CLASS}2", (1, 10, 1), "CT head"),
    Shape("MG", f"{_CLASS}1.2", (1, 1, 1, 1), "Mammography screening"),
    Shape("XA", f"{_CLASS}12.1", (6, 4, 1), "Coronary angiography", frames=30),
    Shape("NM", f"{_CLASS}20", (8, 4), "Bone scintigraphy"),
)
SERIES_PER_ROUND = sum(len(shape.sizes) for shape in SHAPES)
INSTANCES_PER_ROUND = sum(sum(shape.sizes) for shape in SHAPES)


@dataclass(frozen=True, slots=True)
class Rows:
    """What one study adds to each table, by the names of `TABLES`."""

    tables: Mapping[str, list[Sequence[Any]]]


def series_sizes(study: int) -> tuple[int, ...]:
    """How many instances each series of a study has."""
    return SHAPES[study % PER_ROUND].sizes


def first_rows(study: int) -> tuple[int, int]:
    """The row numbers of the first series and of the first instance of a study."""
    rounds, shape = divmod(study, PER_ROUND)
    before = SHAPES[:shape]
    return (
        rounds * SERIES_PER_ROUND + sum(len(one.sizes) for one in before) + 1,
        rounds * INSTANCES_PER_ROUND + sum(sum(one.sizes) for one in before) + 1,
    )


def records_of(study: int) -> Iterator[InstanceRecord]:
    """The instances of a study as ingest makes them, in the order of their rows."""
    for series, size in enumerate(series_sizes(study)):
        for instance in range(size):
            yield record(study, series, instance)


def record(study: int, series: int, instance: int) -> InstanceRecord:
    """One instance of the population, with all that ingest tells of it."""
    template = _template(study % PER_ROUND, series, min(instance, _last(study, series)), _is_foreign(study))
    who = identity(study, series, instance)
    members = {tag: member % who.octets for tag, member in template.members.items()}
    return _record(template.shape, who, members)


def rows_of(study: int) -> Rows:
    """The rows of a study, as the index would have written them."""
    shape = SHAPES[study % PER_ROUND]
    foreign = _is_foreign(study)
    series_row, instance_row = first_rows(study)
    tables: dict[str, list[Sequence[Any]]] = {name: [] for name in TABLES}
    for series, size in enumerate(shape.sizes):
        first = _template(study % PER_ROUND, series, 0, foreign)
        who = identity(study, series, 0)
        if not series:
            head = (study + 1, who.texts["study_uid"], instance_row)
            counts = (shape.modality, len(shape.sizes), sum(shape.sizes))
            tables["study"].append((*head, *first.study.filled(who), *counts))
            tables["request"].append((study + 1, series_row, who.texts["step"], who.texts["procedure"]))
        document = first.json % who.octets
        dictionary, packing = _packing(document)
        head = (series_row, study + 1, who.texts["series_uid"])
        tables["series"].append((*head, dictionary, instance_row, *first.series.filled(who), size))
        tables["series_class"].append((study + 1, series_row, shape.sop_class, size))
        for instance in range(size):
            if instance:
                who = identity(study, series, instance)
            template = _template(study % PER_ROUND, series, instance, foreign)
            packed = packing.compress(template.json % who.octets)
            tables["instance"].append((instance_row, series_row, packed, *template.instance.filled(who)))
            if template.frames is not None:
                tables["frames"].append((instance_row, template.frames))
            instance_row += 1
        series_row += 1
    return Rows(tables)


_LEVEL = 3
_first_packed = zstandard.ZstdCompressor(level=_LEVEL)


def _packing(document: bytes) -> tuple[bytes, zstandard.ZstdCompressor]:
    """What `index.documents` keeps of a series that begins with `document`, and what packs the others.

    It says the same in half of the time, which is most of what a fill takes.
    """
    content = zstandard.ZstdCompressionDict(document, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    content.precompute_compress(level=_LEVEL)
    return _first_packed.compress(document), zstandard.ZstdCompressor(level=_LEVEL, dict_data=content)


def _is_foreign(study: int) -> bool:
    """Whether the name of a study's patient is written in three ways."""
    return study // PER_ROUND % _FOREIGN_EACH == _FOREIGN_EACH - 1


def _last(study: int, series: int) -> int:
    return series_sizes(study)[series] - 1


@dataclass(frozen=True, slots=True)
class _RowTemplate:
    """A row's values, in which those at `slots` are to be filled in for each identity."""

    values: tuple[Any, ...]
    slots: tuple[tuple[int, str], ...]
    documents: tuple[tuple[int, bytes], ...]
    texts: tuple[tuple[int, bytes], ...]

    def filled(self, who: Identity) -> list[Any]:
        row = list(self.values)
        for place, name in self.slots:
            row[place] = who.texts[name]
        for place, written in self.documents:
            row[place] = written % who.octets
        for place, text in self.texts:
            row[place] = (text % who.octets).decode()
        return row


@dataclass(frozen=True, slots=True)
class _Template:
    """What instances of one place in a shape have in common; octets are forms to be filled in."""

    shape: Shape
    members: Mapping[int, bytes]
    json: bytes
    study: _RowTemplate
    series: _RowTemplate
    instance: _RowTemplate
    frames: bytes | None


@functools.cache
def _template(shape: int, series: int, instance: int, foreign: bool) -> _Template:
    kind = SHAPES[shape]
    members = {
        int(tag, 16): b'"%s":%s' % (tag.encode(), orjson.dumps(element))
        for tag, element in elements(kind.modality, kind.sop_class, kind.what, series, instance).items()
    }
    if foreign:
        name = {"Alphabetic": ASSUMED["name"], "Ideographic": f"山田^{ASSUMED['number']}"}
        members[0x00100010] = b'"00100010":%s' % orjson.dumps({"vr": "PN", "Value": [name]})
    if kind.frames:
        members[0x00280008] = b'"00280008":{"vr":"IS","Value":["%d"]}' % kind.frames
    members[0x00083002] = b'"00083002":{"vr":"UI","Value":[\x01]}'
    path = InstanceKey(ASSUMED["study_uid"], ASSUMED["series_uid"], ASSUMED["instance_uid"]).path
    members[0x7FE00010] = b'"7FE00010":{"vr":"OW","BulkDataURI":"\x00%s/bulkdata/7FE00010"}' % path.encode()
    who = Identity({**ASSUMED, "digest": ASSUMED_DIGEST}, {})
    made = _record(kind, who, members)
    told = made.description
    return _Template(
        shape=kind,
        members={tag: form(member) for tag, member in members.items()},
        json=form(made.json),
        study=_row(described(Level.STUDY, told.study, told.study_summary)),
        series=_row(described(Level.SERIES, told.series, told.series_summary)),
        instance=_row((*stored(made), *described(Level.INSTANCE, told.instance, told.instance_summary))),
        frames=None if made.frames is None else made.frames.to_bytes(),
    )


def _row(values: tuple[Any, ...]) -> _RowTemplate:
    names: dict[Any, str] = {text: name for name, text in ASSUMED.items()} | {ASSUMED_DIGEST: "digest"}
    slots = [(place, names[value]) for place, value in enumerate(values) if value in names]
    documents = [
        (place, form(value))
        for place, value in enumerate(values)
        if isinstance(value, bytes) and value not in names
    ]
    # What is assumed of a part of a text, as of a name in several ways, is filled in there.
    texts = [
        (place, form(value.encode()))
        for place, value in enumerate(values)
        if isinstance(value, str) and value not in names and form(value.encode()) != value.encode()
    ]
    return _RowTemplate(values, tuple(slots), tuple(documents), tuple(texts))


def _record(shape: Shape, who: Identity, members: Mapping[int, bytes]) -> InstanceRecord:
    """The record of an instance whose DICOM JSON members are `members`."""
    encapsulated = shape.frames > 0
    frames = FrameTable([1_000 + 20_000 * number for number in range(shape.frames + 1)])
    return InstanceRecord(
        key=InstanceKey(who.texts["study_uid"], who.texts["series_uid"], who.texts["instance_uid"]),
        sop_class=shape.sop_class,
        syntax=_JPEG if encapsulated else _EXPLICIT,
        object_key=who.texts["object_key"],
        place=PLACE,
        size=20_000 * shape.frames + 1_400 if encapsulated else 527_600,
        digest=who.texts["digest"],
        shape=PixelShape(512, 512, 1, 16, max(shape.frames, 1), "MONOCHROME2", 12, 11, False, 0),
        pixels=PixelPlace(0x7FE00010, "OB" if encapsulated else "OW", Extent(1_000, 524_288), encapsulated),
        frames=frames if encapsulated else None,
        description=describe(members),
        json=b"{%s}" % b",".join(members[tag] for tag in sorted(members)),
    )
