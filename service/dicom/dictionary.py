"""The data dictionary: what PS3.6 and the vendors say of attributes that the object does not tell itself.

The tables are pydicom's, which are made from PS3.6 and kept up to date. Importing pydicom takes about a
second and 30 MB, its tables a twentieth of that; so the two files are loaded by their place, without the
package around them. A test compares every entry with what pydicom answers.
"""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.lru_cache(maxsize=8192)
def entry_of(tag: int) -> tuple[str, str] | None:
    """VR as printed ("US or SS") and keyword of a standard attribute; `None` if it is in no table.

    Repeating groups (50xx, 60xx) are found by any of their numbers.
    """
    standard = _standard()
    row = standard.DicomDictionary.get(tag)
    if row is None and not tag & 0x10000:
        digits = f"{tag:08X}"
        row = next((row for mask, row in _repeaters() if _fits(mask, digits)), None)
    return None if row is None else (row[0], row[4])


def private_vr_of(creator: str, tag: int) -> str | None:
    """The VR that the vendor of `creator` gives a private element, where it is known."""
    # Only known names are remembered: others may be anything, and of any length.
    return _private_vr_of(creator, tag) if creator in _private().private_dictionaries else None


@functools.lru_cache(maxsize=8192)
def _private_vr_of(creator: str, tag: int) -> str | None:
    rows: Mapping[str, tuple[str, ...]] = _private().private_dictionaries[creator]
    digits = f"{tag:08X}"
    for key in (digits, f"{digits[:4]}xx{digits[6:]}", f"{digits[:2]}xxxx{digits[6:]}"):
        if key in rows:
            return rows[key][0]
    return None


def tag_of(keyword: str) -> int | None:
    """The tag of a standard attribute by its keyword."""
    return _keywords().get(keyword)


def names() -> dict[str, str]:
    """The names of all standard attributes by their tags in hexadecimal; repeating groups have an `x`."""
    rows: Mapping[int, tuple[str, ...]] = _standard().DicomDictionary
    repeating: Mapping[str, tuple[str, ...]] = _standard().RepeatersDictionary
    told = {f"{tag:08X}": row[2] for tag, row in rows.items()}
    return told | {mask: row[2] for mask, row in repeating.items()}


def load() -> None:
    """Read the tables now instead of at the first need."""
    entry_of(0x00080005)
    private_vr_of("", 0x00091001)


@functools.cache
def _keywords() -> Mapping[str, int]:
    rows: Mapping[int, tuple[str, ...]] = _standard().DicomDictionary
    return {row[4]: tag for tag, row in rows.items() if row[4]}


@functools.cache
def _repeaters() -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple(_standard().RepeatersDictionary.items())


def _fits(mask: str, digits: str) -> bool:
    return all(wanted in ("x", given) for wanted, given in zip(mask, digits, strict=True))


@functools.cache
def _standard() -> ModuleType:
    return _table("_dicom_dict")


@functools.cache
def _private() -> ModuleType:
    return _table("_private_dict")


def _table(name: str) -> ModuleType:
    package = importlib.util.find_spec("pydicom")
    assert package is not None and package.origin is not None
    path = Path(package.origin).with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
