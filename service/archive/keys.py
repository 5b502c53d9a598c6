"""The names of objects: new for every write, ordered by time."""

import re
import secrets
import time

from service.dicom.resource import InstanceKey

OBJECTS = "studies/"
# What else lies in a store is nobody's business here.
OBJECT_KEY = re.compile(r"studies/[0-9.]+/[0-9.]+/[0-9.]+\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.dcm")
_FOLDER, _UPLOAD = slice(-41), slice(-40, -4)


def new_object_key(key: InstanceKey) -> str:
    """`studies/{study}/{series}/{instance}.{upload}.dcm`, where `upload` is a UUID of version 7."""
    return f"{folder_of(key)}.{_uuid7()}.dcm"


def folder_of(key: InstanceKey) -> str:
    """What the names of all objects of an instance begin with, up to a full stop."""
    return f"{OBJECTS}{key.study}/{key.series}/{key.instance}"


def is_of(object_key: str, key: InstanceKey) -> bool:
    """Whether an object's name is one of this instance."""
    return object_key[_FOLDER] == folder_of(key)


def upload_of(object_key: str) -> str:
    """The upload that an object's name tells; the one that began earlier is the smaller text."""
    return object_key[_UPLOAD]


def _uuid7() -> str:
    """RFC 9562 5.7: 48 bits of milliseconds, 12 of what is beyond them (6.2, method 3), then chance."""
    milliseconds, beyond = divmod(time.time_ns(), 1_000_000)
    chance = secrets.randbits(62)
    number = milliseconds << 80 | 7 << 76 | (beyond * 4096 // 1_000_000) << 64 | 2 << 62 | chance
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
