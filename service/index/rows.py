"""Rows of the tables, alike in every database: their columns, and what stands in them."""

from collections.abc import Mapping
from typing import Any

import orjson

from service.dicom.attributes import ATTRIBUTES, ZONE_COLUMN, Origin
from service.dicom.describing import Value
from service.dicom.frames import Extent, PixelPlace, PixelShape
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Level, Resource

# What the columns of each level are described by, beside those that `described` adds.
COLUMNS = {
    level: (
        *(
            column
            for row in ATTRIBUTES
            if row.level is level and row.origin is Origin.OBJECT
            for column in row.columns
        ),
        ZONE_COLUMN,
    )
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE)
}
DESCRIBED = ("more", "summary")
# The columns that `stored` gives the values of.
STORED = (
    ("instance_uid", "sop_class", "syntax", "object_key", "place", "size", "digest")
    + ("shape_rows", "shape_columns", "shape_samples", "shape_bits", "shape_frames", "shape_photometric")
    + ("shape_stored", "shape_high_bit", "shape_signed", "shape_planar")
    + ("pixel_tag", "pixel_vr", "pixel_offset", "pixel_length", "pixel_encapsulated")
    + ("data_offset", "head_fits", "table_length", "findings")
)

JOINED = (
    "FROM study s JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id WHERE s.study_uid = ?"
)
IN_ORDER = (
    " ORDER BY e.series_number ASC NULLS LAST, e.series_uid, i.instance_number ASC NULLS LAST, i.instance_uid"
)
HELD = (
    "SELECT i.id, s.study_uid, e.series_uid, i.instance_uid, i.sop_class, i.syntax, i.object_key, i.place,"
    " i.size, i.digest, i.shape_rows, i.shape_columns, i.shape_samples, i.shape_bits, i.shape_frames,"
    " i.shape_photometric, i.shape_stored, i.shape_high_bit, i.shape_signed, i.shape_planar, i.pixel_tag,"
    " i.pixel_vr, i.pixel_offset, i.pixel_length, i.pixel_encapsulated,"
    " i.data_offset, i.head_fits "
)
# The next instances by row: what is before them is not looked at, and of those behind them nothing.
WALK = (
    f"{HELD}FROM (SELECT * FROM instance WHERE id > ? ORDER BY id LIMIT ?) i"
    " JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study ORDER BY i.id"
)
GENERATION = "SELECT count(*), max(i.id), sum(i.id) "
# As `record.syntax_and_pixels`: a missing shape or place makes the sum of texts NULL.
SYNTAX_AND_PIXELS = (
    "coalesce(i.syntax || '|' || i.pixel_tag || '|' || i.shape_samples || '|' || i.shape_bits || '|' ||"
    " i.shape_stored || '|' || i.shape_signed || '|' || i.shape_photometric, i.syntax)"
)


def scope(resource: Resource) -> tuple[str, tuple[str, ...]]:
    """What follows `JOINED` for the instances of `resource`, and all bound parameters."""
    where = ""
    bound = [resource.study]
    if resource.series is not None:
        where += " AND e.series_uid = ?"
        bound.append(resource.series)
    if resource.instance is not None:
        where += " AND i.instance_uid = ?"
        bound.append(resource.instance)
    return where, tuple(bound)


def held(row: tuple[Any, ...]) -> Held:
    """The instance of a row of `HELD`."""
    row_id, study, series, instance, sop_class, syntax, object_key, place, size, digest = row[:10]
    shape, place_of_pixels, (data_offset, head_fits) = row[10:20], row[20:25], row[25:]
    return Held(
        row=row_id,
        key=InstanceKey(study, series, instance),
        sop_class=sop_class,
        syntax=syntax,
        object_key=object_key,
        place=place,
        size=size,
        digest=digest,
        shape=None if shape[0] is None else _shape(*shape),
        pixels=None if place_of_pixels[0] is None else _pixel_place(*place_of_pixels),
        data_offset=data_offset,
        head_fits=bool(head_fits),
    )


def _shape(
    rows: int,
    columns: int,
    samples: int,
    bits: int,
    frames: int,
    photometric: str,
    stored: int,
    high_bit: int,
    signed: int,
    planar: int,
) -> PixelShape:
    return PixelShape(
        rows, columns, samples, bits, frames, photometric, stored, high_bit, bool(signed), planar
    )


def _pixel_place(tag: int, vr: str, offset: int, length: int, encapsulated: int) -> PixelPlace:
    return PixelPlace(tag, vr, Extent(offset, length), bool(encapsulated))


def stored(record: InstanceRecord) -> tuple[Value | bytes, ...]:
    """The values of `STORED`."""
    shape, pixels, frames = record.shape, record.pixels, record.frames
    return (
        *(record.key.instance, record.sop_class, record.syntax),
        *(record.object_key, record.place, record.size, record.digest),
        *(
            (None,) * 10
            if shape is None
            else (shape.rows, shape.columns, shape.samples)
            + (shape.bits_allocated, shape.frames, shape.photometric)
            + (shape.bits_stored, shape.high_bit, int(shape.signed), shape.planar)
        ),
        *(
            (None,) * 5
            if pixels is None
            else (pixels.tag, pixels.vr, pixels.extent.offset, pixels.extent.length)
            + (int(pixels.encapsulated),)
        ),
        *(record.data_offset, int(record.head_fits)),
        None if frames is None else len(frames),
        orjson.dumps(record.findings).decode() if record.findings else None,
    )


def described(level: Level, columns: Mapping[str, Value], summary: bytes) -> tuple[Value | bytes, ...]:
    """The values of a level's `COLUMNS` and of `DESCRIBED`."""
    more: dict[str, list[str]] = {}
    values: list[Value | bytes] = []
    for column in COLUMNS[level]:
        value = columns.get(column)
        if isinstance(value, str) and "\\" in value:
            more[column] = value.split("\\")
            value = more[column][0]
        values.append(value)
    return (*values, orjson.dumps(more).decode() if more else None, summary)
