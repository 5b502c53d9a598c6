"""Instances whose values are still to come, and the references by which the parts of a body answer them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from service.archive.settling import Supplied
from service.dicom.resource import is_uid
from service.dicom.writing import DataSet

_UUID = re.compile(r"(?:urn:uuid:|uuid:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_SHOWN = 10


@dataclass(slots=True)
class Instance:
    """An instance of which not every value is there yet; `data_set` is `None` once it has its outcome.

    `gaps` holds what it waits for by the BulkDataURIs as they are written, `waits_for` how many of them
    are not complete. The UIDs are empty unless both are told.
    """

    data_set: DataSet | None = None
    sop_class: str = ""
    sop_instance: str = ""
    gaps: dict[str, "Awaited"] = field(default_factory=dict)
    waits_for: int = 0

    @property
    def awaited(self) -> Iterable["Awaited"]:
        """What it waits or waited for, each once."""
        return {id(one): one for one in self.gaps.values()}.values()


@dataclass(slots=True)
class Awaited:
    """A BulkDataURI, by which `instances` it is named, and what answered it so far.

    `uses` counts the elements that name it, `waiting` the instances that do and have no outcome yet.
    `pixels_of` is the data set whose pixel data it is, in so many `parts`, uncompressed if `native`; `kept`
    says that the spool holds something of it, `refused` that an instance of it was.
    """

    instances: list[Instance] = field(default_factory=list)
    uses: int = 0
    waiting: int = 0
    refused: bool = False
    pixels_of: DataSet | None = None
    parts: int = 1
    native: bool = False
    supplied: Supplied | None = None
    complete: bool = False
    kept: bool = False


def instance_of(document: Any, data_set: DataSet | None) -> Instance:
    """The instance that `document` describes, named by it even where it makes no data set."""
    sop_class, sop_instance = _uid(document, "00080016"), _uid(document, "00080018")
    if not sop_class or not sop_instance:
        return Instance(data_set)
    return Instance(data_set, sop_class, sop_instance)


def reference_key(base: str, reference: str) -> str:
    """What a BulkDataURI and a Content-Location have in common: the URL, seen from `base`, or the UUID."""
    reference = reference.strip().strip("<>")
    uuid = _UUID.fullmatch(reference)
    if uuid is not None:
        return uuid[1].lower()
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def what_is_missing(instance: Instance) -> str:
    """A sentence about the values of `instance` that no part held."""
    assert instance.data_set is not None
    gaps = instance.data_set.detached
    tags = sorted({gap.tag for gap in gaps if not instance.gaps[gap.uri].complete})
    named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags[:_SHOWN])
    return f"The body holds no part, or too few, for the BulkDataURI of {named}."


def _uid(document: Any, key: str) -> str:
    attribute = document.get(key) if isinstance(document, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else values
    return str(first) if isinstance(first, str) and is_uid(first) else ""
