"""Multipart bodies of contents: each part says its type, its place and, where it is known, its length."""

from collections.abc import Buffer, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from service.archive.reading import Content
from service.dicom.media import Representation
from service.dicom.multipart import boundary_of, closing, part_head
from service.web.sending import Body, Piece


@dataclass(frozen=True, slots=True)
class Part:
    """One part: `location` is the URL of what it represents."""

    content_type: str
    location: str
    content: Content


def parts_body(form: Representation, parts: Sequence[Part], tag: str, block_size: int) -> Body:
    """A multipart of a few parts, all of one form; of a single one a client may ask for a run."""
    boundary = boundary_of(tag)
    bounds = [part.content.bound for part in parts]
    known = [bound for bound in bounds if bound is not None]
    only = parts[0] if len(parts) == 1 else None
    return Body(
        form.multipart_type(boundary),
        partial(part_blocks, partial(iter, parts), boundary, block_size),
        _total_size(parts, boundary),
        tag,
        bound=sum(known) if len(known) == len(bounds) else None,
        ranges=only is not None,
        measure=partial(_measured, form, only, tag, block_size) if only and only.content.measure else None,
        lend=partial(_lent, parts, boundary) if all(part.content.lend for part in parts) else None,
    )


def _lent(parts: Sequence[Part], boundary: str) -> list[Piece] | None:
    pieces: list[Piece] = []
    for place, part in enumerate(parts):
        run = part.content.lend() if part.content.lend is not None else None
        if run is None:
            return None
        head = part_head(
            boundary, part.content_type, location=part.location, length=run.extent.length, first=place == 0
        )
        pieces += (head, run)
    return [*pieces, closing(boundary)]


def _measured(form: Representation, only: Part, tag: str, block_size: int) -> Body:
    return parts_body(form, [replace(only, content=only.content.measured())], tag, block_size)


def part_blocks(parts: Callable[[], Iterator[Part]], boundary: str, block_size: int) -> Iterator[Buffer]:
    """The multipart of `parts`; those that are read at once anyway tell their length."""
    for place, part in enumerate(parts()):
        content = part.content.measured(block_size)
        yield part_head(
            boundary, part.content_type, location=part.location, length=content.size, first=place == 0
        )
        yield from content.blocks()
    yield closing(boundary)


def _total_size(parts: Sequence[Part], boundary: str) -> int | None:
    """The size of the multipart, where that of each part is known."""
    total = len(closing(boundary))
    for place, part in enumerate(parts):
        size = part.content.size
        if size is None:
            return None
        first = place == 0
        head = part_head(boundary, part.content_type, location=part.location, length=size, first=first)
        total += len(head) + size
    return total
