"""Readers of settings from the environment, which name the variable when its value is no good."""

import re
from collections.abc import Mapping

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/]*@|([?&](?:ssl)?password=)[^&]*")


class SettingError(Exception):
    """A setting cannot be used; the message names the variable and says what it may be."""


def text(environ: Mapping[str, str], name: str, default: str) -> str:
    """The text of a setting without surrounding space; an empty one counts as not set."""
    return environ.get(name, "").strip() or default


def integer(
    environ: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int = 1 << 62
) -> int:
    """A whole number from `least` to `most`."""
    given = environ.get(name, "").strip()
    if not given:
        return default
    try:
        value = int(given)
    except ValueError:
        raise SettingError(f"{name} must be a whole number; it is {given!r}.") from None
    if not least <= value <= most:
        raise SettingError(f"{name} must be from {least} to {most}; it is {value}.")
    return value


def one_of(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    """One of `choices`."""
    value = text(environ, name, default)
    if value not in choices:
        raise SettingError(f"{name} must be one of {', '.join(choices)}; it is {value!r}.")
    return value


def size(environ: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    """A size in bytes: a number, or one with the unit KiB, MiB or GiB."""
    given = environ.get(name, "").strip()
    if not given:
        return default
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)):
        number = given.removesuffix(unit).strip()
        if given.endswith(unit) and number.isdigit():
            value = int(number) * factor
            if value < least:
                raise SettingError(f"{name} must be at least {least} bytes; it is {given!r}.")
            return value
    raise SettingError(f"{name} must be a size in bytes such as 33554432 or 32MiB; it is {given!r}.")


def as_size(value: int) -> str:
    """A size in the largest unit that divides it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % factor == 0:
            return f"{value // factor} {unit}"
    return f"{value} bytes"


def shown(url: str) -> str:
    """`url` as it may be shown: without passwords."""
    return _PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] is not None else f"{found[2]}***", url)
