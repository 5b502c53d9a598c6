"""The lines of text that annotate a picture: who it is of, and how it was made (PS3.18 8.3.5.1.1)."""

from collections.abc import Callable

from service.pixels.attributes import Attributes

_AMOUNTS: tuple[tuple[int, str, str], ...] = (
    (0x00180060, "", "kV"),
    (0x00181151, "", "mA"),
    (0x00181152, "", "mAs"),
    (0x00180080, "TR", "ms"),
    (0x00180081, "TE", "ms"),
    (0x00181314, "FA", ""),
    (0x00180087, "", "T"),
    (0x00180050, "thickness", "mm"),
    (0x00201041, "location", "mm"),
)


def patient_lines(attributes: Attributes) -> list[str]:
    """Name, identifier, birth date and sex of the patient, as far as they are known."""
    name = person_name(attributes.text(0x00100010))
    identity = attributes.text(0x00100020)
    born, sex, age = (
        date(attributes.text(0x00100030)),
        attributes.text(0x00100040),
        attributes.text(0x00101010),
    )
    return _said(name, identity, _joined(born, sex, age))


def technique_lines(attributes: Attributes, frame: int = 1) -> list[str]:
    """When and how a frame was made: modality, date and time, description, the main figures."""
    made = _first(attributes.text, 0x00080022, 0x00080021, 0x00080020)
    at = _first(attributes.text, 0x00080032, 0x00080031, 0x00080030)
    series, number = attributes.text(0x00200011), attributes.text(0x00200013)
    frames = attributes.integer(0x00280008) or 1
    places = [f"series {series}" if series else "", f"image {number}" if number else ""]
    places.append(f"frame {frame} of {frames}" if frames > 1 else "")
    description = attributes.text(0x0008103E) or attributes.text(0x00081030)
    return _said(
        _joined(attributes.text(0x00080060), date(made), time(at)),
        attributes.text(0x00080080),
        description,
        _joined(*places),
        _joined(*(_amount(attributes, tag, name, unit) for tag, name, unit in _AMOUNTS)),
    )


def person_name(text: str) -> str:
    """A person name's components in the order they are spoken: `Dr Jane Ann Doe Jr`."""
    parts = [part.strip() for part in text.split("=")[0].split("^")] + [""] * 5
    family, given, middle, prefix, suffix = parts[:5]
    return _joined(prefix, given, middle, family, suffix)


def date(text: str) -> str:
    """`20240131` as `2024-01-31`; other forms as they are."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def time(text: str) -> str:
    """`101530.5` as `10:15:30`; other forms as they are."""
    digits = text.partition(".")[0]
    if len(digits) not in (4, 6) or not digits.isdigit():
        return text
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _amount(attributes: Attributes, tag: int, name: str, unit: str) -> str:
    number = attributes.number(tag)
    return "" if number is None else _joined(name, f"{number:.6g}", unit)


def _first(read: Callable[[int], str], *tags: int) -> str:
    return next((text for tag in tags if (text := read(tag))), "")


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _said(*lines: str) -> list[str]:
    return [line for line in lines if line]
