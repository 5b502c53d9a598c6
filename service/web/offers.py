"""In which forms an instance can leave: as it is stored, and in what its frames can be made into."""

import functools
from collections.abc import Sequence
from dataclasses import replace

from service.archive.transcoding import MOST_FRAME_BYTES, frame_bytes, source_syntax
from service.dicom.frames import PixelShape
from service.dicom.media import DICOM, MediaRange, Representation, negotiate
from service.dicom.record import Held
from service.dicom.syntaxes import (
    BY_UID,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    OCTETS,
    SYNTAXES,
    Form,
    Syntax,
    available,
)
from service.pixels.frame import frame_shape
from service.pixels.plan import Act, Plan, plan
from service.pixels.plan import available as available_without_loss

MADE = "1"
"""Changes whenever something is made otherwise than before: what clients keep is of no use then."""

_MOST_VALUE = 0xFFFFFFFE  # PS3.5 7.1.2: the length of native pixel data has 32 bits
# What is offered: what loses nothing first, and of that what a media type means by itself.
_ENCAPSULATED = [one for one in SYNTAXES if one.form is Form.FRAMES]
_TARGETS = (
    EXPLICIT_LE,
    *(one.uid for one in sorted(_ENCAPSULATED, key=lambda one: (one.lossy, not one.is_default))),
)


def stored_offers(stored: Syntax, *, native: bool, single: bool) -> list[Representation]:
    """How pixel data in a transfer syntax can leave without being decoded; `native` if not in fragments."""
    if native or stored.uid == ENCAPSULATED_UNCOMPRESSED:
        return [Representation(OCTETS, EXPLICIT_LE, multipart=form, default=True) for form in _forms(single)]
    return [
        Representation(
            stored.media_type or OCTETS,
            stored.uid,
            multipart=form,
            octets=True,
            default=stored.is_default or stored.lossy,
        )
        for form in _forms(single)
    ]


def frame_offers(held: Held, *, single: bool, decoded: Sequence[str] = ()) -> tuple[Representation, ...]:
    """How frames of an instance can leave, the stored form first.

    `decoded` are the transfer syntaxes of which a client that takes any is sent octets instead.
    """
    return _frame_offers(*_kind(held), single, held.syntax in decoded)


def agree_frames(
    ranges: Sequence[MediaRange], held: Held, *, single: bool, decoded: Sequence[str] = ()
) -> Representation | None:
    """The most wanted of the offers for an instance's frames; `None` if none is acceptable."""
    return _agreed(tuple(ranges), *_kind(held), single, held.syntax in decoded)


def object_offers(held: Held, *, single: bool) -> tuple[Representation, ...]:
    """How an instance can leave as a DICOM object, the stored form first."""
    return _object_offers(*_kind(held), single)


def stored_object_offers(held: Held, *, single: bool) -> list[Representation]:
    """How an instance can leave as a DICOM object without being decoded."""
    return [
        Representation(DICOM, uid, multipart=form, default=uid == EXPLICIT_LE or BY_UID[uid].lossy)
        for form in _forms(single)
        for uid in available(held.syntax)
    ]


@functools.lru_cache(maxsize=1024)
def available_values(told: str) -> bytes:
    """Available Transfer Syntax UID (0008,3002) as the inside of a JSON array: what can be had without loss.

    `told` is what `record.syntax_and_pixels` tells of an instance.
    """
    syntax, *pixels = told.split("|", 6)
    shape = None
    if pixels:
        tag, samples, allocated, stored, signed = map(int, pixels[:5])
        size = PixelShape(1, 1, samples, allocated, 1, pixels[5], stored, stored - 1, bool(signed), 0)
        shape = frame_shape(size, tag)
    return ",".join(f'"{uid}"' for uid in available_without_loss(syntax, shape)).encode("ascii")


def is_made(held: Held, syntax: str) -> bool:
    """Whether frames have to be made anew to be sent in `syntax`."""
    stored = source_syntax(held)
    return syntax not in ("", stored) and (stored, syntax) != (ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE)


def is_remade(held: Held, syntax: str) -> bool:
    """Whether a DICOM object in `syntax` has other pixel data than the stored one."""
    return held.pixels is not None and syntax not in available(held.syntax) and syntax != held.syntax


def planned(held: Held, syntax: str) -> Plan:
    """What is done with the frames of an instance that has some to send them in `syntax`."""
    assert held.shape is not None and held.pixels is not None
    return plan(source_syntax(held), frame_shape(held.shape, held.pixels.tag), syntax)


_Kind = tuple[str, bool, int, PixelShape | None]


def _kind(held: Held) -> _Kind:
    """What the offers depend on: syntax, whether in fragments, tag and shape of the pixel data."""
    if held.pixels is None:
        return held.syntax, False, 0, None
    return held.syntax, held.pixels.encapsulated, held.pixels.tag, held.shape


def _forms(single: bool) -> tuple[bool, ...]:
    """Whether in a multipart: always, and without where there is one item (PS3.18 Table 10.4.4-1)."""
    return (True, False) if single else (True,)


@functools.lru_cache(maxsize=1024)
def _agreed(
    ranges: tuple[MediaRange, ...],
    stored: str,
    encapsulated: bool,
    tag: int,
    shape: PixelShape | None,
    single: bool,
    decoded: bool,
) -> Representation | None:
    offers = _frame_offers(stored, encapsulated, tag, shape, single, decoded)
    return next(iter(negotiate(ranges, offers)), None)


@functools.lru_cache(maxsize=1024)
def _frame_offers(
    stored: str, encapsulated: bool, tag: int, shape: PixelShape | None, single: bool, decoded: bool
) -> tuple[Representation, ...]:
    as_stored = stored_offers(BY_UID[stored], native=not encapsulated, single=single)
    plans = _plans(stored, encapsulated, tag, shape)
    if plans and BY_UID[stored].media_type is None:
        # Octets without a transfer syntax mean decoded ones.
        as_stored = [replace(offer, default=False) for offer in as_stored]
    there = {offer.syntax for offer in as_stored}
    made: list[Representation] = []
    octets: list[Representation] = []
    for decision in plans:
        target = BY_UID[decision.syntax]
        if target.uid in there:
            continue
        for form in _forms(single):
            offer = Representation(
                target.media_type or OCTETS,
                target.uid,
                multipart=form,
                octets=not decision.loses,
                default=target.is_default,
                named=_only_named(decision),
            )
            (octets if target.uid == EXPLICIT_LE and decoded else made).append(offer)
    return (*octets, *as_stored, *made)


@functools.lru_cache(maxsize=1024)
def _object_offers(
    stored: str, encapsulated: bool, tag: int, shape: PixelShape | None, single: bool
) -> tuple[Representation, ...]:
    own = available(stored)
    plans = [
        decision
        for decision in _plans(stored, encapsulated, tag, shape)
        if decision.syntax not in own and decision.syntax != stored and _fits(decision, shape)
    ]
    # What exists only in a lossy form may go as it is where Explicit VR Little Endian, which is meant
    # where no transfer syntax is named, cannot be made (PS3.18 8.7.3.5.2).
    decodable = any(decision.syntax == EXPLICIT_LE for decision in plans)
    return tuple(
        Representation(
            DICOM,
            uid,
            multipart=form,
            default=uid == EXPLICIT_LE or (uid == stored and BY_UID[uid].lossy and not decodable),
            named=named,
        )
        for form in _forms(single)
        for uid, named in (
            *((uid, False) for uid in own),
            *((decision.syntax, _only_named(decision)) for decision in plans),
        )
    )


def _only_named(decision: Plan) -> bool:
    # A lossy syntax is never meant by a wildcard, be what goes out in it lossless.
    return decision.loses or BY_UID[decision.syntax].lossy


def _plans(stored: str, encapsulated: bool, tag: int, shape: PixelShape | None) -> list[Plan]:
    """How the frames can be made into other syntaxes than the stored one."""
    syntax = BY_UID[stored]
    if shape is None or not tag or encapsulated is not syntax.encapsulated or syntax.form is Form.REFERENCE:
        return []
    frame = frame_shape(shape, tag)
    if not 0 < frame_bytes(shape) <= MOST_FRAME_BYTES:
        return []
    source = stored if encapsulated else EXPLICIT_LE
    decisions = [plan(source, frame, target) for target in _TARGETS if target != source]
    return [one for one in decisions if one.act is not Act.REFUSE]


def _fits(decision: Plan, shape: PixelShape | None) -> bool:
    """Whether all frames have room in one element where they are native."""
    assert shape is not None
    size = shape.rows * shape.columns * shape.samples * shape.bits_allocated * shape.frames // 8
    return decision.syntax != EXPLICIT_LE or size < _MOST_VALUE
