"""Which instances of a job are stored for sure: a bit for each, in the order of their UIDs."""

import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from service.dicom.resource import InstanceKey


class Confirmed:
    """The instances that need not be sent again when the program was ended in the middle.

    They are told by their places in the list of all instances. A list with others than before, which
    came or went meanwhile, begins anew: an instance that is sent twice does no harm.
    """

    def __init__(self, digest: str = "", bits: bytes = b"") -> None:
        self._digest = digest
        self._bits = bytearray(bits)
        self._places: dict[InstanceKey, int] = {}

    def plan(self, keys: Iterable[InstanceKey]) -> frozenset[InstanceKey]:
        """Take `keys` as all instances there are; which of them are confirmed already."""
        ordered = sorted(keys, key=lambda key: (key.study, key.series, key.instance))
        digest = _digest(ordered)
        size = (len(ordered) + 7) // 8
        if digest != self._digest or len(self._bits) != size:
            # In this order: a record that is made meanwhile must not have these bits for that list.
            self._bits = bytearray(size)
            self._digest = digest
        self._places = {key: place for place, key in enumerate(ordered)}
        return frozenset(
            key for key, place in self._places.items() if self._bits[place >> 3] >> (place & 7) & 1
        )

    def add(self, key: InstanceKey) -> None:
        """One more is stored."""
        place = self._places[key]
        self._bits[place >> 3] |= 1 << (place & 7)

    def record(self) -> dict[str, str]:
        """What is kept of it."""
        return {"of": self._digest, "bits": binascii.b2a_base64(self._bits, newline=False).decode("ascii")}

    @classmethod
    def of(cls, record: Any) -> "Confirmed":
        """What a record says; `ValueError`, `KeyError` or `TypeError` if it is none."""
        if record is None:
            return cls()
        return cls(str(record["of"]), binascii.a2b_base64(record["bits"], strict_mode=True))


def _digest(keys: Sequence[InstanceKey]) -> str:
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.path.encode("ascii"))
    return digest.hexdigest()
