"""Private attributes named in a search: whose they are, and where an object has them (PS3.5 7.8.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.values import element_values


@dataclass(frozen=True, slots=True)
class PrivateBlock:
    """A block of private elements as a request numbers it, and the creator that it says reserved it.

    PS3.18 8.3.1.1: the request sends the creator's element, such as `00090010=ACME`, with any private
    attribute that it names.
    """

    group: int
    block: int
    creator: str

    def holds(self, tag: int) -> bool:
        """Whether `tag`, as the request numbers it, is of this block."""
        return tag >> 16 == self.group and (tag >> 8) & 0xFF == self.block

    def stored(self, dataset: Mapping[str, object]) -> int | None:
        """The number that the block has in `dataset`, `None` if its creator reserved none."""
        for number in range(0x10, 0x100):
            values = element_values(dataset.get(f"{self.group:04X}{number:04X}"))
            if values and str(values[0]).strip() == self.creator:
                return number
        return None


def is_creator(tag: int) -> bool:
    """Whether `tag` is that of a Private Creator element."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def is_private(tag: int) -> bool:
    """Whether `tag` is that of an element inside a private block."""
    return bool(tag >> 16 & 1) and tag & 0xFFFF > 0xFF


def creator_of(tag: int) -> int:
    """The tag of the element that names who reserved the block of the private element `tag`."""
    return tag & 0xFFFF0000 | (tag >> 8) & 0xFF


def stored_tag(tag: int, dataset: Mapping[str, object], blocks: Sequence[PrivateBlock]) -> int | None:
    """Where `dataset` has what the request calls `tag`: there, unless its block has another number.

    `None` if the creator that the request names has no block in `dataset`.
    """
    for block in blocks:
        if block.holds(tag):
            number = block.stored(dataset)
            return None if number is None else tag & 0xFFFF00FF | number << 8
    return tag


def as_asked(dataset: Mapping[str, object], blocks: Sequence[PrivateBlock]) -> Mapping[str, object]:
    """`dataset` with the private blocks that the request names under the numbers that it gives them."""
    if not blocks:
        return dataset
    replaced = tuple(f"{block.group:04X}{block.block:02X}" for block in blocks)
    renumbered = {key: element for key, element in dataset.items() if not key.startswith(replaced)}
    for block in blocks:
        number = block.stored(dataset)
        if number is not None:
            start = f"{block.group:04X}{number:02X}"
            renumbered |= {
                f"{block.group:04X}{block.block:02X}{key[6:]}": element
                for key, element in dataset.items()
                if key.startswith(start)
            }
    return renumbered
