"""The bulk data of instances: the values that metadata only point to (PS3.18 10.4.1.1.2)."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.archive.bulk import Finder
from service.archive.port import Archive
from service.dicom.errors import BadRequest, Superseded
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT, Held
from service.dicom.resource import Resource
from service.dicom.syntaxes import BY_UID
from service.dicom.vr import PIXEL_DATA

ENCAPSULATED_DOCUMENT = 0x00420011
_MIME_TYPE, _DOCUMENT_LENGTH = "00420012", "00420015"
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
# The slot is in no text of a document, so that this is found in BulkDataURIs and nowhere else.
_URI = re.compile(BASE_SLOT + rb'(/[^"]*)/bulkdata/([^"]*)"')
# What a page of ours would run or be drawn by, were it told to load it from where it comes from itself.
_RUNS = re.compile(
    r"(?:application|text)/(?:x-)?(?:javascript[0-9.]*|ecmascript|jscript|livescript)|text/css"
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}")


@dataclass(frozen=True, slots=True)
class Detached:
    """One value: `path` to it is of tags and item numbers in turn.

    Of an encapsulated document, `media_type` is its own type and `length` its size in bytes without
    padding, where its instance tells them. `encapsulated` says that it is in the form of fragments, as
    compressed pixel data are.
    """

    held: Held
    path: tuple[int, ...]
    media_type: str = ""
    length: int | None = None
    encapsulated: bool = False

    @property
    def is_pixel_data(self) -> bool:
        """Whether it is the pixel data at the top level of its instance."""
        return self.held.pixels is not None and self.path == (self.held.pixels.tag,)

    @property
    def location(self) -> str:
        """Its place below the DICOMweb root, as in the BulkDataURI that metadata give."""
        return f"{self.held.key.path}/bulkdata/{path_text(self.path)}"


Listing = Callable[[], Iterator[Detached]]


def detached_value(archive: Archive, held: Held, path: tuple[int, ...]) -> Detached:
    """The value at `path` of an instance, whether metadata point to it or not."""
    if path != (ENCAPSULATED_DOCUMENT,):
        return _value(archive, held, path, None)
    key = held.key
    documents = archive.documents(Resource(key.study, key.series, key.instance))
    document = next((found for found, _ in documents or ()), b"{}")
    return _encapsulated_document(held, document)


def all_detached(archive: Archive, resource: Resource, instances: Sequence[Held]) -> Listing:
    """Every value that the metadata of `resource` point to, instance by instance, in order of tags.

    It can be gone through again. `Superseded`, also on the way, if `instances` are no longer all of them.
    """
    documents = archive.documents(resource)
    if documents is None or documents.count != len(instances):
        raise Superseded("Instances came or went while their bulk data were being looked up.")
    by_path = {held.key.path.encode("ascii"): held for held in instances}

    def listing() -> Iterator[Detached]:
        finder: Finder | None = None
        for document, _ in documents:
            for match in _URI.finditer(document):
                held = by_path.get(match[1])
                if held is None:
                    raise Superseded("An instance came while bulk data were being looked up.")
                path = tag_path(match[2].decode("ascii"))
                if path == (ENCAPSULATED_DOCUMENT,):
                    yield _encapsulated_document(held, document)
                    continue
                if finder is None or finder.held is not held:
                    finder = Finder(archive, held)
                yield _value(archive, held, path, finder)

    return listing


def pixel_data(instances: Sequence[Held]) -> Listing:
    """The pixel data at the top level of each instance that has some."""

    def listing() -> Iterator[Detached]:
        for held in instances:
            if held.pixels is not None and held.pixels.extent.length:
                yield Detached(held, (held.pixels.tag,), encapsulated=held.pixels.encapsulated)

    return listing


def _value(archive: Archive, held: Held, path: tuple[int, ...], finder: Finder | None) -> Detached:
    if held.pixels is not None and path == (held.pixels.tag,):
        return Detached(held, path, encapsulated=held.pixels.encapsulated)
    # An icon's pixel data are in fragments or not, whatever those of its image are.
    encapsulated = False
    if path[-1] in PIXEL_DATA and BY_UID[held.syntax].encapsulated:
        found, _ = (finder or Finder(archive, held)).find(path)
        encapsulated = found.encapsulated
    return Detached(held, path, encapsulated=encapsulated)


def tag_path(text: str) -> tuple[int, ...]:
    """`60031010/1/60031011` as numbers: tags in hexadecimal, item numbers from 1 between them."""
    steps = text.split("/")
    path: list[int] = []
    for place, step in enumerate(steps):
        if place % 2 == 0 and _TAG.fullmatch(step):
            path.append(int(step, 16))
        elif place % 2 == 1 and step.isascii() and step.isdigit() and 0 < len(step) <= 9 and int(step) > 0:
            path.append(int(step))
        else:
            raise BadRequest("A bulk data path alternates tags of 8 hexadecimal digits and item numbers.")
    if len(path) % 2 == 0:
        raise BadRequest("A bulk data path ends in a tag.")
    return tuple(path)


def path_text(path: Sequence[int]) -> str:
    """What `tag_path` reads, as metadata write it."""
    return "/".join(f"{step:08X}" if place % 2 == 0 else str(step) for place, step in enumerate(path))


def _encapsulated_document(held: Held, document: bytes) -> Detached:
    """The encapsulated document of the instance that `document` describes (PS3.3 C.24.2)."""
    parsed = orjson.loads(document.replace(BASE_SLOT, b"").replace(SYNTAXES_SLOT, b""))
    name, length = (_first(parsed, tag) for tag in (_MIME_TYPE, _DOCUMENT_LENGTH))
    media_type = name.partition(";")[0].strip().lower() if isinstance(name, str) else ""
    # A multipart would be taken for one of ours.
    usable = not media_type.startswith("multipart/") and not _RUNS.fullmatch(media_type)
    known = usable and _MEDIA_TYPE.fullmatch(media_type) is not None
    return Detached(
        held,
        (ENCAPSULATED_DOCUMENT,),
        media_type if known else "",
        length if isinstance(length, int) else None,
    )


def _first(document: dict[str, Any], tag: str) -> object:
    return next(iter(document.get(tag, {}).get("Value", ())), None)
