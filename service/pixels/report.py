"""A structured report as a page to read: HTML, XHTML or plain text (PS3.3 C.17.3, PS3.18 8.7.4)."""

import html
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from service.pixels.attributes import Attributes
from service.pixels.captions import date, person_name, time

_VALUE_TYPE, _RELATIONSHIP, _CONCEPT, _CONTENT = 0x0040A040, 0x0040A010, 0x0040A043, 0x0040A730
_CODE_MEANING, _CODE_VALUES = 0x00080104, (0x00080100, 0x00080119, 0x00080120)
_MEASURED, _NUMBER, _UNITS, _QUALIFIER = 0x0040A300, 0x0040A30A, 0x004008EA, 0x0040A301
_REFERENCED, _INSTANCE, _FRAMES = 0x00081199, 0x00081155, 0x00081160
_GRAPHIC_TYPE, _GRAPHIC_DATA = 0x00700023, 0x00700022
_TARGET = 0x0040DB73
_COMPLETION, _VERIFICATION = 0x0040A491, 0x0040A493
_DEPTH_LIMIT = 60
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 2.2
_MOST_COORDINATES = 12

# What a relation is called where the reader needs to be told (PS3.3 Table C.17.3-8).
_RELATIONS: Mapping[str, str] = {
    "HAS OBS CONTEXT": "context",
    "HAS ACQ CONTEXT": "acquisition",
    "HAS CONCEPT MOD": "modifier",
    "HAS PROPERTIES": "property",
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
}

# What an item without a concept name is called.
_NAMELESS: Mapping[str, str] = {"IMAGE": "Image", "COMPOSITE": "Object", "WAVEFORM": "Waveform"}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.5rem}"
    "section{margin:.75rem 0;padding-left:1rem;border-left:3px solid #d8dde3}"
    "h2,h3,h4,h5,h6{font-size:1.05rem;margin:.5rem 0}.name{color:#555}.value{white-space:pre-wrap}"
    ".relation{color:#777;font-size:.85em}ul{margin:.25rem 0;padding-left:1.25rem}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:#555}dd{margin:0}"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A content item: what it is, what it says, and what it contains."""

    name: str
    value: str
    relation: str
    container: bool
    inside: "tuple[Entry, ...]"


def report_html(attributes: Attributes) -> str:
    """The report as an HTML page: no scripts, nothing from elsewhere, every value escaped."""
    return '<!DOCTYPE html>\n<html lang="en">' + _page(attributes)


def report_xml(attributes: Attributes) -> str:
    """The same page as a document of XHTML, with U+FFFD for the characters that XML cannot hold."""
    opening = '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">'
    return opening + _NOT_IN_XML.sub("\ufffd", _page(attributes, "/"))


def _page(attributes: Attributes, void: str = "") -> str:
    """Head and body of the page; tags without content end in `void`."""
    root = entry_of(attributes)
    title = html.escape(root.name or "Structured report")
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts_of(attributes)
    )
    body = "".join(part for inner in root.inside for part in _markup(inner, 2))
    return (
        f'<head><meta charset="utf-8"{void}>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"{void}>'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{title}</h1>\n<dl>{facts}</dl>\n{body}</body></html>\n"
    )


def report_text(attributes: Attributes) -> str:
    """The report as plain text, indented by depth."""
    root = entry_of(attributes)
    title = _clean(root.name or "Structured report")
    lines = [title, "=" * len(title)]
    lines += [f"{name}: {_clean(value)}" for name, value in facts_of(attributes)]
    lines.append("")
    for inner in root.inside:
        lines += _lines(inner, 0)
    return "\n".join(lines) + "\n"


def facts_of(attributes: Attributes) -> list[tuple[str, str]]:
    """Who the report is about and what state it is in, as far as it is known."""
    when = " ".join((date(attributes.text(0x00080023)), time(attributes.text(0x00080033)))).strip()
    facts = [
        ("Patient", person_name(attributes.text(0x00100010))),
        ("Patient ID", attributes.text(0x00100020)),
        ("Birth date", date(attributes.text(0x00100030))),
        ("Sex", attributes.text(0x00100040)),
        ("Study", attributes.text(0x00081030)),
        ("Study date", date(attributes.text(0x00080020))),
        ("Accession number", attributes.text(0x00080050)),
        ("Report date", when),
        ("Status", ", ".join(filter(None, map(attributes.text, (_COMPLETION, _VERIFICATION)))).lower()),
    ]
    return [(name, value) for name, value in facts if value]


def entry_of(item: Attributes, depth: int = 0) -> Entry:
    """A content item and what it contains; what is nested too deep is left out, and said to be."""
    kind = item.text(_VALUE_TYPE)
    inside: tuple[Entry, ...] = ()
    if depth < _DEPTH_LIMIT:
        inside = tuple(entry_of(inner, depth + 1) for inner in item.items(_CONTENT))
    elif _CONTENT in item:
        inside = (Entry("", "(more is nested deeper than can be shown)", "", False, ()),)
    target = item.numbers(_TARGET)
    if target and not kind:
        value = "see item " + ".".join(str(int(step)) for step in target)
    else:
        value = _VALUES.get(kind, _nothing)(item)
    relation = _RELATIONS.get(item.text(_RELATIONSHIP), "")
    name = _meaning(item.item(_CONCEPT)) or _NAMELESS.get(kind, "")
    return Entry(name, value, relation, kind == "CONTAINER", inside)


def _markup(entry: Entry, level: int) -> Iterator[str]:
    name, value = html.escape(entry.name), html.escape(entry.value)
    relation = f' <span class="relation">({html.escape(entry.relation)})</span>' if entry.relation else ""
    if entry.container:
        heading = f"h{min(level, 6)}"
        yield f"<section><{heading}>{name or '&#160;'}{relation}</{heading}>\n"
        for inner in entry.inside:
            yield from _markup(inner, level + 1)
        yield "</section>\n"
        return
    label = f'<span class="name">{name}</span>{relation}' if name or relation else ""
    joint = ": " if label and value else ""
    yield f'<div>{label}{joint}<span class="value">{value}</span>'
    if entry.inside:
        yield "<ul>"
        for inner in entry.inside:
            yield "<li>"
            yield from _markup(inner, level + 1)
            yield "</li>"
        yield "</ul>"
    yield "</div>\n"


def _lines(entry: Entry, depth: int) -> Iterator[str]:
    indent = "  " * depth
    relation = f" ({entry.relation})" if entry.relation else ""
    label = _clean(entry.name) + relation
    if entry.container:
        yield f"{indent}{label or '-'}"
    else:
        text = _clean(entry.value)
        joint = ": " if label and text else ""
        first, *rest = (f"{label}{joint}{text}").split("\n")
        yield indent + first
        yield from (textwrap.indent(line, indent + "  ") for line in rest)
    for inner in entry.inside:
        yield from _lines(inner, depth + 1)


def _clean(text: str) -> str:
    """`text` with its line ends as they are here, and no other control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(one for one in text if one in "\n\t" or one.isprintable())


def _meaning(code: Attributes | None) -> str:
    """Code Meaning, else the code itself."""
    if code is None:
        return ""
    return code.text(_CODE_MEANING) or next(filter(None, map(code.text, _CODE_VALUES)), "")


def _nothing(item: Attributes) -> str:
    return ""


def _number(item: Attributes) -> str:
    measured = item.item(_MEASURED)
    if measured is None:
        return _meaning(item.item(_QUALIFIER)) or "(no value)"
    units = measured.item(_UNITS)
    unit = "" if units is None else next(filter(None, map(units.text, _CODE_VALUES)), "")
    # UCUM is mostly what everybody writes; what it has in brackets is better read by its meaning.
    if unit[:1] in ("[", "{"):
        unit = _meaning(units)
    return " ".join(filter(None, (_plain(measured), "" if unit in ("1", "no units") else unit)))


def _plain(measured: Attributes) -> str:
    """The number in its decimal digits, as far as they are known."""
    number = measured.number(_NUMBER)
    return measured.text(_NUMBER) if number is None else f"{number:.15g}"


def _moment(item: Attributes) -> str:
    text = item.text(0x0040A120)
    return f"{date(text[:8])} {time(text[8:14])}".strip() if text[:8].isdigit() else text


def _reference(item: Attributes) -> str:
    said = []
    for one in item.items(_REFERENCED):
        frames = ", ".join(str(int(number)) for number in one.numbers(_FRAMES))
        said.append(one.text(_INSTANCE) + (f", frame {frames}" if frames else ""))
    return "; ".join(said)


def _shape(item: Attributes) -> str:
    numbers = [f"{number:.6g}" for number in item.numbers(_GRAPHIC_DATA)]
    rest = " …" if len(numbers) > _MOST_COORDINATES else ""
    return f"{item.text(_GRAPHIC_TYPE).lower()} {', '.join(numbers[:_MOST_COORDINATES])}{rest}".strip()


_VALUES: Mapping[str, Callable[[Attributes], str]] = {
    "TEXT": lambda item: "\\".join(item.texts(0x0040A160)).strip(),
    "NUM": _number,
    "CODE": lambda item: _meaning(item.item(0x0040A168)),
    "DATETIME": _moment,
    "DATE": lambda item: date(item.text(0x0040A121)),
    "TIME": lambda item: time(item.text(0x0040A122)),
    "PNAME": lambda item: person_name(item.text(0x0040A123)),
    "UIDREF": lambda item: item.text(0x0040A124),
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _shape,
    "SCOORD3D": _shape,
    "TCOORD": lambda item: item.text(0x0040A130).lower(),
}
