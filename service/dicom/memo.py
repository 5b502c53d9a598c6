"""Members of DICOM JSON that were made before, by the bytes of the element they were made of.

Within a series most elements repeat from instance to instance, so that most of the work on a header is
looking up short byte strings. Only elements whose member depends on nothing but their bytes, the encoding
and the character set are remembered: see `Walker`.
"""

from service.dicom.elements import Encoding

Heads = dict[bytes, tuple[int, int]]
"""The first eight bytes of an element → its tag and whole size in bytes."""
Members = dict[bytes, bytes]
"""The bytes of a whole element → its member."""

_OVERHEAD = 250  # bytes of two objects and their place in a table, measured


class Memo:
    """A memo bounded in bytes, for all walkers of a process; it holds text of patients.

    Any thread may use it. When full it is emptied at once: a warm memo is refilled by one instance.
    """

    def __init__(self, *, size_bytes: int = 16 << 20) -> None:
        self._size_bytes = size_bytes
        self._room = size_bytes
        self._heads: dict[Encoding, Heads] = {}
        self._members: dict[tuple[Encoding, tuple[str, ...]], Members] = {}

    def heads(self, encoding: Encoding) -> Heads:
        """Elements with a 16-bit length, or in implicit VR, that were remembered under `encoding`."""
        return self._heads.setdefault(encoding, {})

    def members(self, encoding: Encoding, charset: tuple[str, ...]) -> Members:
        """The members remembered under `encoding` and the character set of these numbers."""
        key = (encoding, charset)
        members = self._members.get(key)
        if members is None:
            self._take(_OVERHEAD)
            members = self._members.setdefault(key, {})
        return members

    def remember_head(self, heads: Heads, head: bytes, tag: int, size_bytes: int) -> None:
        self._take(len(head) + _OVERHEAD)
        heads[head] = (tag, size_bytes)

    def remember(self, members: Members, element: bytes, member: bytes) -> None:
        self._take(len(element) + len(member) + _OVERHEAD)
        members[element] = member

    def _take(self, size_bytes: int) -> None:
        self._room -= size_bytes
        if self._room < 0:
            # Walkers keep their tables, so these are emptied, not replaced.
            for heads in list(self._heads.values()):
                heads.clear()
            for members in list(self._members.values()):
                members.clear()
            self._room = self._size_bytes - size_bytes


MEMO = Memo()
