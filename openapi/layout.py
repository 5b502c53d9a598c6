"""Markdown: paragraphs, tables and code, as the written documents have them."""

import textwrap
from collections.abc import Iterable, Sequence

_WIDTH = 110


def codes(names: Iterable[str]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def plain(text: str) -> str:
    """Indented paragraphs as paragraphs of lines."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
    wrapped = (
        textwrap.wrap(one, _WIDTH, break_long_words=False, break_on_hyphens=False) for one in paragraphs
    )
    return "\n\n".join("\n".join(lines) for lines in wrapped)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def meaning(kind: type[BaseException]) -> str:
    """What an error is: the first sentence of its docstring."""
    text = " ".join((kind.__doc__ or "").split())
    sentence = text.partition(".")[0].partition(";")[0]
    return sentence[:1].lower() + sentence[1:]
