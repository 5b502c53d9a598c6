"""The names of objects: new for every write, ordered by time."""

import secrets
import time

from service.dicom.resource import InstanceKey


def new_object_key(key: InstanceKey) -> str:
    """`studies/{study}/{series}/{instance}.{upload}.dcm`, where `upload` is a UUID of version 7."""
    return f"studies/{key.study}/{key.series}/{key.instance}.{_uuid7()}.dcm"


def _uuid7() -> str:
    """RFC 9562 5.7: 48 bits of milliseconds, then chance."""
    milliseconds = time.time_ns() // 1_000_000
    chance = secrets.randbits(74)
    number = milliseconds << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & ((1 << 62) - 1)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
