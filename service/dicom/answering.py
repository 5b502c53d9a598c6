"""Matches as the identifiers of C-FIND answers (PS3.4 C.4.1.1.3.2): DICOM JSON in, bytes out.

A writer is prepared once for a request, since thousands of answers may follow it.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from service.dicom.attributes import AVAILABILITY, CHARACTER_SET, TIMEZONE
from service.dicom.encoding import Column, Encoder, Form
from service.dicom.identifier import Key
from service.dicom.privates import PrivateBlock, as_asked, is_creator
from service.dicom.querying import NAMES, QUERY_LEVEL, RETRIEVE_AE_TITLE, UNIQUE, Asked, is_of
from service.dicom.repertoire import UNICODE, Repertoire
from service.dicom.resource import Level
from service.dicom.syntaxes import Syntax

NOTHING_TOLD: Mapping[int, str] = {}


class IdentifierWriter:
    """Writes matches as identifiers that have `keys`, empty where there is no value.

    `told` are values that are the same in all of them; the `optional` ones are left out where a match has
    none, and of those that are not `held` no match has any. `blocks` say whose the private ones are. Text
    is in `charset`, or in UTF-8 if that lacks a character; with `fixed` a question mark stands for it.
    """

    def __init__(
        self,
        keys: Mapping[int, Key],
        syntax: Syntax,
        charset: Repertoire,
        *,
        fixed: bool = False,
        told: Mapping[int, str] = NOTHING_TOLD,
        optional: Collection[int] = (),
        held: Collection[int] | None = None,
        blocks: Sequence[PrivateBlock] = (),
    ) -> None:
        self._deflated = syntax.deflated
        self._blocks = blocks
        form = Form(syntax)
        tags = sorted(keys.keys() - {CHARACTER_SET})
        columns = [
            Column.of(
                form,
                keys[tag],
                told=told.get(tag),
                optional=tag in optional,
                held=held is None or tag in held,
            )
            for tag in tags
        ]
        before = sum(column.tag < CHARACTER_SET for column in columns)
        self._early, self._columns = columns[:before], columns[before:]
        self._first = Encoder(form, charset, replace=fixed)
        self._second = Encoder(form, UNICODE)
        self._of_ascii = self._first.declaration() if CHARACTER_SET in keys else b""

    def write(self, match: Mapping[str, Any]) -> bytes:
        """The identifier of `match`, a parsed DICOM JSON object."""
        if self._blocks:
            match = as_asked(match, self._blocks)
        try:
            written = self._written(match, self._first)
        except UnicodeEncodeError:
            written = self._written(match, self._second)
        if self._deflated:
            deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            written = deflater.compress(written) + deflater.flush()
            written += b"\0" * (len(written) % 2)
        return written

    def _written(self, match: Mapping[str, Any], encoder: Encoder) -> bytes:
        encoder.beyond_ascii = False
        pieces = encoder.elements(self._columns, match)
        declaration = encoder.declaration() if encoder.beyond_ascii else self._of_ascii
        early = encoder.elements(self._early, match) if self._early else ()
        return b"".join((*early, declaration, *pieces))


class AnswerWriter(IdentifierWriter):
    """Writes the matches of one request as identifiers in the transfer syntax of its context.

    An answer has the keys that were asked, empty where there is no value, the unique keys of the levels
    above, the level, `ae_title` as the place to retrieve from, and the availability where it is known;
    with `timezone` the time zone of its dates and times too. Text is in `charset`, or in UTF-8 if that
    lacks a character; with `fixed` a question mark stands for it.
    """

    def __init__(
        self,
        asked: Asked,
        syntax: Syntax,
        ae_title: str,
        charset: Repertoire,
        *,
        fixed: bool = False,
        timezone: bool = False,
    ) -> None:
        keys = {key.tag: key for key in asked.keys}
        told = {
            QUERY_LEVEL: NAMES[asked.level],
            RETRIEVE_AE_TITLE: ae_title,
            **{tag: key.text for tag, key in keys.items() if is_creator(tag) and key.text},
            **_scope(asked),
        }
        known = {AVAILABILITY, *((TIMEZONE,) if timezone else ())} - keys.keys()
        for tag in (*told, *known, *_above(asked)):
            keys.setdefault(tag, Key(tag, ""))
        # Matches at the PATIENT level are studies, whose dates and numbers are not the patient's.
        held = {tag for tag in keys if asked.level is not Level.PATIENT or is_of(Level.PATIENT, tag)}
        super().__init__(
            keys,
            syntax,
            charset,
            fixed=fixed,
            told=told,
            optional=known,
            held=held,
            blocks=asked.query.private,
        )


def _above(asked: Asked) -> Iterable[int]:
    """The unique keys of the level and those above it in the information model."""
    return (UNIQUE[level] for level in asked.root.levels if level <= asked.level)


def _scope(asked: Asked) -> Mapping[int, str]:
    """The UIDs that the query fixes, which not every server repeats in its matches."""
    fixed = {UNIQUE[Level.STUDY]: asked.query.study, UNIQUE[Level.SERIES]: asked.query.series}
    return {tag: uid for tag, uid in fixed.items() if uid is not None}
