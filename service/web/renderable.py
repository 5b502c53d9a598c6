"""What an instance can be shown as, and which instance stands for a study or a series (PS3.18 8.7.4)."""

import enum
from collections.abc import Sequence

from service.dicom.media import Representation
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, Form

PICTURES = (
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/jxl",
    "image/jp2",
    "image/jph",
)
"""The media types of pictures, the default first."""
ANIMATED = "image/gif"
TEXTS = ("text/html", "text/plain", "text/xml")

_CLASSES = "1.2.840.10008.5.1.4.1.1."
# Segmentations, parametric maps, surfaces, doses and secondary captures tell less of a study than images.
_DERIVED = tuple(_CLASSES + tail for tail in ("66.", "30", "481.2", "7"))


class Kind(enum.Enum):
    """What an instance is to somebody who wants to see it, the most telling first."""

    IMAGE = enum.auto()
    VIDEO = enum.auto()
    STATE = enum.auto()
    REPORT = enum.auto()
    DOCUMENT = enum.auto()
    NOTHING = enum.auto()


def kind_of(held: Held) -> Kind:
    """What `held` can be shown as, by its pixel data, else by its SOP class."""
    pixels = held.pixels
    if pixels is not None and pixels.encapsulated and BY_UID[held.syntax].form is Form.VIDEO:
        return Kind.VIDEO
    if pixels is not None and pixels.extent.length and held.shape is not None:
        return Kind.IMAGE
    for tail, kind in (("88.", Kind.REPORT), ("104.", Kind.DOCUMENT), ("11.", Kind.STATE)):
        if held.sop_class.startswith(_CLASSES + tail):
            return kind
    return Kind.NOTHING


def representatives(instances: Sequence[Held]) -> list[Held]:
    """One instance for each kind that there is, the most telling kind first.

    Of images, the middle one of the first series that has any.
    """
    found: dict[Kind, list[Held]] = {}
    for held in instances:
        found.setdefault(kind_of(held), []).append(held)
    if Kind.IMAGE in found:
        found[Kind.IMAGE] = [_middle_image(found[Kind.IMAGE])]
    return [found[kind][0] for kind in Kind if kind in found]


def _middle_image(images: Sequence[Held]) -> Held:
    telling = [held for held in images if not held.sop_class.startswith(_DERIVED)] or images
    series = [held for held in telling if held.key.series == telling[0].key.series]
    return series[len(series) // 2]


def picture_offers(*, items: int, several: bool) -> Sequence[Representation]:
    """How pictures can leave: `items` of them, alone or in a multipart.

    `several` says that they are told apart by the request itself: then only an animation holds them all.
    """
    if not several or items == 1:
        return _ALONE_FIRST
    return _TOGETHER_FIRST


def offers_alike(media_types: Sequence[str]) -> Sequence[Representation]:
    """One item of each type, alone or in a multipart."""
    return [Representation(name, multipart=form) for form in (False, True) for name in media_types]


_ALONE_FIRST = tuple(offers_alike(PICTURES))
_TOGETHER_FIRST = (*(offer for offer in _ALONE_FIRST if offer.multipart), Representation(ANIMATED))
