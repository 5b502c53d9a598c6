"""What a client asks of a rendered image: the query parameters (PS3.18 8.3.5 and 9.5), read and checked."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from service.dicom.errors import BadRequest
from service.dicom.resource import require_uid
from service.pixels.codecs.display import CARRIES_PROFILE
from service.pixels.geometry import LARGEST_SIDE, Region, Viewport
from service.pixels.voi import Function, Window

Parameters = Iterable[tuple[str, str]]

ANNOTATIONS = ("patient", "technique")
PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb")

_FUNCTIONS = {function.value: function for function in Function}
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DIGITS = 11  # of a number above all frames and sides that there are
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a rendered image.

    `unsupported` are annotation keywords that nobody knows: they are passed over, with a warning.
    `quality` is 1 to 100. `frame` counts from 1. `presentation` is the series and the instance of the
    presentation state to apply.
    """

    annotation: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    quality: int | None = None
    viewport: Viewport | None = None
    window: Window | None = None
    profile: str | None = None
    frame: int | None = None
    presentation: tuple[str, str] | None = None

    def require_profile(self, media_type: str) -> None:
        """`BadRequest` if a profile is asked for in a type that leaves without (PS3.18 8.3.5.1.5)."""
        if self.profile not in (None, "no") and media_type not in CARRIES_PROFILE:
            raise BadRequest(f"iccprofile must be no for {media_type}, which leaves without one here.")


def read_rendered(parameters: Parameters, *, presentation: bool = False) -> Asked:
    """The query of `/rendered`; `presentation` says that a presentation state is its target.

    `BadRequest` for what PS3.18 8.3.5.1 does not allow. Other parameters are not looked at.
    """
    given = _single(parameters, ("annotation", "quality", "viewport", "window", "iccprofile"))
    if presentation and "window" in given:
        raise BadRequest("window is not for presentation states, which have their own (PS3.18 8.3.5.1.4).")
    known, unknown = _annotation(given, "annotation")
    return Asked(
        annotation=known,
        unsupported=unknown,
        quality=_read(given, "quality", _quality),
        viewport=_read(given, "viewport", _size_only if presentation else _viewport),
        window=_read(given, "window", _window),
        profile=_read(given, "iccprofile", _profile),
    )


def read_thumbnail(parameters: Parameters) -> Asked:
    """The query of `/thumbnail`: the size of the viewport (PS3.18 10.4.1.1.4)."""
    return Asked(viewport=_read(_single(parameters, ("viewport",)), "viewport", _size_only))


def read_uri(parameters: Parameters) -> Asked:
    """The query of the URI service, as far as it is about pictures (PS3.18 9.5)."""
    given = _single(parameters, _URI_NAMES)
    state = _presentation(given)
    window = _uri_window(given)
    if state is not None and window is not None:
        raise BadRequest("windowCenter and windowWidth are not for presentation states (PS3.18 9.5).")
    name = "annotation" if "annotation" in given else "imageAnnotation"
    known, unknown = _annotation(given, name)
    columns, rows = (_read(given, side, _side) for side in ("columns", "rows"))
    region = _read(given, "region", _fractions)
    sized = columns is not None or rows is not None or region is not None
    return Asked(
        annotation=known,
        unsupported=unknown,
        quality=_read(given, "imageQuality", _quality),
        viewport=Viewport(columns, rows, region or Region()) if sized else None,
        window=window,
        profile=_read(given, "iccprofile", _profile),
        frame=_read(given, "frameNumber", _positive),
        presentation=state,
    )


_URI_NAMES = (
    "annotation", "imageAnnotation", "columns", "rows", "region", "windowCenter", "windowWidth",
    "frameNumber", "imageQuality", "iccprofile", "presentationUID", "presentationSeriesUID",
)  # fmt: skip


def _single(parameters: Parameters, names: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in names and given.setdefault(name, value) != value:
            raise BadRequest(f"{name} is given twice.")
    return given


def _read[T](given: Mapping[str, str], name: str, read: Callable[[str, str], T]) -> T | None:
    return read(name, given[name].strip()) if name in given else None


def _annotation(given: Mapping[str, str], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The known and the unknown keywords, each once, in the order given."""
    if name not in given:
        return (), ()
    keywords = dict.fromkeys(word.strip().lower() for word in given[name].split(","))
    if not all(_KEYWORD.fullmatch(word) for word in keywords):
        raise BadRequest(f"{name} is a list of keywords, as patient or technique (PS3.18 8.3.5.1.1).")
    known = tuple(word for word in keywords if word in ANNOTATIONS)
    return known, tuple(word for word in keywords if word not in ANNOTATIONS)


def _quality(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= 100:
        raise BadRequest(f"{name} is a whole number from 1 to 100 (PS3.18 8.3.5.1.2).")
    return int(text)


def _positive(name: str, text: str) -> int:
    digits = text.lstrip("0")
    if not (text.isascii() and digits.isdigit()):
        raise BadRequest(f"{name} is a whole number from 1 on.")
    return int(digits[:_DIGITS])


def _side(name: str, text: str) -> int:
    number = _positive(name, text)
    if number > LARGEST_SIDE:
        raise BadRequest(f"{name} is at most {LARGEST_SIDE}.")
    return number


def _decimal(name: str, text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise BadRequest(f"{name} has a value that is not a decimal number.")
    return number


def _size_only(name: str, text: str) -> Viewport:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise BadRequest(f"{name} is width,height here, in pixels (PS3.18 8.3.5.1.3).")
    return Viewport(_side(name, parts[0]), _side(name, parts[1]))


def _viewport(name: str, text: str) -> Viewport:
    """`vw,vh[,[sx],[sy],[sw],[sh]]`: of the last four each may be left out between its commas."""
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise BadRequest(f"{name} is vw,vh or vw,vh,sx,sy,sw,sh (PS3.18 8.3.5.1.3).")
    size = _side(name, parts[0]), _side(name, parts[1])
    sx, sy, sw, sh = ([_decimal(name, part) if part else None for part in parts[2:]] + [None] * 4)[:4]
    if 0 in (sw, sh) or (sx or 0) < 0 or (sy or 0) < 0:
        raise BadRequest(f"{name} has a region without a place in the image (PS3.18 8.3.5.1.3).")
    return Viewport(*size, Region(sx or 0.0, sy or 0.0, sw, sh))


def _window(name: str, text: str) -> Window:
    """`center,width,function`, none of them left out (PS3.18 8.3.5.1.4)."""
    parts = [part.strip() for part in text.split(",")]
    function = _FUNCTIONS.get(parts[2].lower()) if len(parts) == 3 else None
    if function is None:
        raise BadRequest(f"{name} is center,width,function, the function one of {', '.join(_FUNCTIONS)}.")
    return _valid(Window(_decimal(name, parts[0]), _decimal(name, parts[1]), function), name)


def _valid(window: Window, name: str) -> Window:
    if not window.valid:
        raise BadRequest(f"{name}: the width is too small for the function (PS3.3 C.11.2.1.2.1).")
    return window


def _profile(name: str, text: str) -> str:
    if text.lower() not in PROFILES:
        raise BadRequest(f"{name} is one of {', '.join(PROFILES)} (PS3.18 8.3.5.1.5).")
    return text.lower()


def _uri_window(given: Mapping[str, str]) -> Window | None:
    names = [name for name in ("windowCenter", "windowWidth") if name in given]
    if not names:
        return None
    if len(names) == 1:
        raise BadRequest("windowCenter and windowWidth come together (PS3.18 9.5).")
    center, width = (_decimal(name, given[name].strip()) for name in names)
    return _valid(Window(center, width), "windowWidth")


def _fractions(name: str, text: str) -> Region:
    """`xmin,ymin,xmax,ymax`, from 0,0 at the upper left to 1,1 at the lower right."""
    parts = [_decimal(name, part.strip()) for part in text.split(",")]
    if len(parts) != 4 or not (0 <= parts[0] < parts[2] <= 1 and 0 <= parts[1] < parts[3] <= 1):
        raise BadRequest(f"{name} is xmin,ymin,xmax,ymax between 0 and 1 (PS3.18 9.5).")
    left, top, right, bottom = parts
    return Region(left, top, right - left, bottom - top, relative=True)


def _presentation(given: Mapping[str, str]) -> tuple[str, str] | None:
    names = ("presentationSeriesUID", "presentationUID")
    found = tuple(given[name] for name in names if name in given)
    if not found:
        return None
    if len(found) == 1:
        raise BadRequest("presentationUID and presentationSeriesUID come together (PS3.18 9.5).")
    for name in names:
        require_uid(given[name], name)
    return given["presentationSeriesUID"], given["presentationUID"]
