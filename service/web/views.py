"""The plan of a rendered resource: which instances are shown, as what, under what name (PS3.18 8.7.4).

It loads what the workshop needs; see `darkroom`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.archive.bulk import pixel_parts
from service.archive.detached import ENCAPSULATED_DOCUMENT, detached_value
from service.archive.port import Archive
from service.archive.reading import Content
from service.archive.showing import MOST_FRAME_BYTES, attributes_of, stored_shape
from service.archive.transcoding import Steps, frame_bytes
from service.dicom.errors import BadRequest, NotAcceptable, NotFound
from service.dicom.media import MediaRange, Representation, negotiate
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Resource
from service.dicom.syntaxes import BY_UID, OCTETS
from service.pixels.asking import Asked, read_rendered, read_thumbnail
from service.pixels.codecs import DECODABLE
from service.pixels.presentation import APPLIED
from service.pixels.references import referenced_images
from service.pixels.shelf import Shelf
from service.web import bulkdata
from service.web.conditional import entity_tag
from service.web.darkroom import View, developed, written
from service.web.developing import Item, Job, Sheet
from service.web.parts import Part, parts_body
from service.web.renderable import (
    ANIMATED,
    PICTURES,
    TEXTS,
    Kind,
    kind_of,
    offers_alike,
    picture_offers,
    representatives,
)
from service.web.request import warning
from service.web.sending import Body, item_body

# Of the renderer: another one makes other pictures of the same instances.
_EDITION = "1"
_PAGE_SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
_SNIFFED = 400
_MOST_REFERENCES = 2_000


@dataclass(frozen=True, slots=True)
class Scene:
    """What a request brings along: the archive, what it accepts, the root it knows, its parameters.

    `require_utf8` raises `NotAcceptable` where text may not be in UTF-8. The `shelf` has what other pictures
    were made of.
    """

    archive: Archive
    ranges: Sequence[MediaRange]
    base: str
    block_size: int
    parameters: tuple[tuple[str, str], ...]
    require_utf8: Callable[[], None]
    shelf: Shelf


@dataclass(frozen=True, slots=True)
class Shown:
    """An instance that can be shown, and how: `offers` are its representations, best first.

    `frames` are those of an image. `references` are the images, each with a frame, that a presentation
    state is applied to.
    """

    held: Held
    kind: Kind
    offers: Sequence[Representation]
    frames: tuple[int, ...] = ()
    references: tuple[tuple[Held, int], ...] = ()
    content: Content | None = None


def rendered(scene: Scene, resource: Resource, numbers: Sequence[int] | None = None) -> Sheet | Body:
    """The rendered study, series or instance, or the frames of it with these numbers.

    `BadRequest` for parameters that PS3.18 8.3.5.1 does not allow, `NotFound` for a frame that is not
    there, `NotAcceptable` where nothing can be shown, or not as asked.
    """
    instances = scene.archive.instances(resource)
    if resource.instance is None:
        return _of_many(scene, instances)
    held = instances[0]
    state = kind_of(held) is Kind.STATE
    asked = read_rendered(scene.parameters, presentation=state)
    if numbers is not None and state:
        raise BadRequest("A presentation state has no frames: it is applied to those that it refers to.")
    return one_rendered(scene, held, asked, numbers)


def shortly_rendered(scene: Scene, resource: Resource, numbers: Sequence[int] | None) -> Sheet | None:
    """As `rendered`, for an image; `None` for what takes more than to look it up."""
    held = scene.archive.instances(resource)[0]
    if kind_of(held) is not Kind.IMAGE:
        return None
    sheet = one_rendered(scene, held, read_rendered(scene.parameters), numbers)
    assert isinstance(sheet, Sheet)
    return sheet


def one_rendered(
    scene: Scene, held: Held, asked: Asked, numbers: Sequence[int] | None, *, state: Held | None = None
) -> Sheet | Body:
    """One instance as it is asked for, alone or in a multipart; `state` is applied to it."""
    shown = shown_as(scene, held, numbers)
    agreed = next(iter(negotiate(scene.ranges, shown.offers)), None)
    if agreed is None:
        raise _refusal([shown])
    _require_kept(asked, shown, agreed)
    if agreed.multipart:
        return _multipart(scene, [(shown, agreed)], asked, 1)
    return _alone(scene, shown, agreed, asked, state)


def of_state(scene: Scene, held: Held, asked: Asked) -> Sheet | Body:
    """The first image that a presentation state is for, as the state wants it shown.

    `BadRequest` for a window or a frame number, which the state has of its own (PS3.18 9.5).
    """
    if asked.window is not None or asked.frame is not None or asked.presentation is not None:
        raise BadRequest("A presentation state takes no window, no frame and no other presentation state.")
    return one_rendered(scene, held, asked, None)


def frames_of_state(scene: Scene, state: Held) -> set[tuple[str, int]]:
    """The frames that a presentation state is for: SOP Instance UID and number of each that is here."""
    return {(image.key.instance, number) for image, number in _references(scene, state)}


def thumbnail(scene: Scene, resource: Resource, numbers: Sequence[int] | None = None) -> Sheet | Body:
    """One small picture: of the middle frame of the middle image, or an icon (PS3.18 10.4.1.1.4)."""
    asked = read_thumbnail(scene.parameters)
    held = _representatives(scene.archive.instances(resource))[0]
    image = kind_of(held) is Kind.IMAGE
    if numbers is not None:
        _require_frames(held, numbers)
    frames: tuple[int, ...] = ()
    if image:
        stored_shape(held)
        assert held.shape is not None
        frames = (numbers[0] if numbers is not None else held.shape.frames // 2 + 1,)
    offers = offers_alike(PICTURES)
    agreed = next(iter(negotiate(scene.ranges, offers)), None)
    if agreed is None:
        raise NotAcceptable("Thumbnails are available as pictures.", PICTURES)
    if image and not _decodable(held):
        raise _refusal([])
    view = View(held, frames, agreed.media_type, asked, thumbnail=True)
    return _sheet(scene, agreed, [_job(scene, view, resource.path + "/thumbnail")], [held.digest], {})


def _of_many(scene: Scene, instances: Sequence[Held]) -> Sheet | Body:
    """A study or a series: one representative instance alone, or all of them in a multipart."""
    asked = read_rendered(scene.parameters)
    candidates = [shown_as(scene, held, None) for held in _representatives(instances)]
    for shown in candidates:
        for agreed in negotiate(scene.ranges, shown.offers)[:1]:
            _require_kept(asked, shown, agreed)
            if not agreed.multipart:
                return _alone(scene, shown, agreed, asked)
            return _all(scene, instances, asked)
    raise _refusal(candidates)


def _all(scene: Scene, instances: Sequence[Held], asked: Asked) -> Sheet | Body:
    """Every instance that can be shown as asked; presentation states where there is no image."""
    together = [one for one in scene.ranges if one.multipart is not False]
    images = any(kind_of(held) is Kind.IMAGE for held in instances)
    plan: list[tuple[Shown, Representation]] = []
    for held in instances:
        if not _presentable(held) or (images and kind_of(held) is Kind.STATE):
            continue
        shown = shown_as(scene, held, None)
        offers = [offer for offer in shown.offers if offer.multipart]
        plan += [(shown, agreed) for agreed in negotiate(together, offers)[:1]]
    return _multipart(scene, plan, asked, len(instances))


def shown_as(scene: Scene, held: Held, numbers: Sequence[int] | None) -> Shown:
    """How an instance can be shown; without offers where it cannot. `NotFound` for a wrong frame."""
    kind = kind_of(held)
    if numbers is not None:
        _require_frames(held, numbers)
    match kind:
        case Kind.IMAGE if _decodable(held):
            assert held.shape is not None
            stored_shape(held)
            frames = tuple(numbers or range(1, held.shape.frames + 1))
            offers = picture_offers(items=len(frames), several=numbers is not None)
            return Shown(held, kind, offers, frames)
        case Kind.VIDEO:
            return _video(scene, held)
        case Kind.REPORT:
            return Shown(held, kind, offers_alike(TEXTS))
        case Kind.DOCUMENT:
            return _document(scene, held)
        case Kind.STATE if held.sop_class in APPLIED:
            references = tuple(_references(scene, held))
            offers = picture_offers(items=1, several=False)
            return Shown(held, kind, offers if references else (), references=references)
    return Shown(held, Kind.STATE if kind is Kind.STATE else Kind.NOTHING, ())


def _require_frames(held: Held, numbers: Sequence[int]) -> None:
    if kind_of(held) not in (Kind.IMAGE, Kind.VIDEO) or held.shape is None:
        raise NotFound("The instance has no frames.")
    if max(numbers) > held.shape.frames:
        raise NotFound(f"The instance has {held.shape.frames} frames; there is no frame {max(numbers)}.")
    if kind_of(held) is Kind.VIDEO:
        raise NotAcceptable("A video leaves as a whole: its frames are not decoded.")


def _representatives(instances: Sequence[Held]) -> list[Held]:
    """One instance for each kind, of those that can be shown if there are any."""
    return representatives([held for held in instances if _presentable(held)] or instances)


def _presentable(held: Held) -> bool:
    """Whether an instance is no image that cannot be decoded."""
    if kind_of(held) is not Kind.IMAGE:
        return True
    assert held.shape is not None
    return _decodable(held) and frame_bytes(held.shape) <= MOST_FRAME_BYTES


def _decodable(held: Held) -> bool:
    return not BY_UID[held.syntax].encapsulated or held.syntax in DECODABLE


def _require_kept(asked: Asked, shown: Shown, agreed: Representation) -> None:
    """`BadRequest` for a colour profile in a type that leaves without one."""
    if shown.kind in (Kind.IMAGE, Kind.STATE):
        asked.require_profile(agreed.media_type)


def _references(scene: Scene, state: Held) -> Iterator[tuple[Held, int]]:
    """The frames that a presentation state is for, as far as their images are here."""
    wanted = referenced_images(attributes_of(scene.archive, state, scene.block_size, scene.shelf))
    for reference in wanted[:_MOST_REFERENCES]:
        try:
            key = InstanceKey(state.key.study, reference.series, reference.instance)
            (image, *_) = scene.archive.instances(Resource(key.study, key.series, key.instance))
        except (BadRequest, NotFound):
            continue
        if kind_of(image) is Kind.IMAGE and _decodable(image) and image.shape is not None:
            count = image.shape.frames
            for number in reference.frames or range(1, count + 1):
                if 1 <= number <= count:
                    yield image, number


def _video(scene: Scene, held: Held) -> Shown:
    """The stream as it is stored, under the name of what it is and of what its transfer syntax says."""
    assert held.pixels is not None
    _, contents = pixel_parts(scene.archive, held, held.pixels, scene.block_size)
    content = next(contents())
    head = b""
    for block in content.blocks():
        head += bytes(memoryview(block)[:_SNIFFED])
        if len(head) >= _SNIFFED:
            break
    names = dict.fromkeys(filter(None, (_container(head), BY_UID[held.syntax].media_type)))
    return Shown(held, Kind.VIDEO, offers_alike(tuple(names)), content=content)


def _container(head: bytes) -> str | None:
    """The media type of a video by its first bytes: MP4, an MPEG transport or program stream."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:1] == b"\x47" and head[188:189] == b"\x47":
        return "video/mp2t"
    return "video/mpeg" if head[:4] in (b"\0\0\1\xba", b"\0\0\1\xb3") else None


def _document(scene: Scene, held: Held) -> Shown:
    """An encapsulated document as it is, in its own type and length."""
    value = detached_value(scene.archive, held, (ENCAPSULATED_DOCUMENT,))
    if not value.media_type or value.media_type == OCTETS:
        return Shown(held, Kind.DOCUMENT, ())
    _, contents = bulkdata.contents_of(scene.archive, value, scene.block_size)
    return Shown(held, Kind.DOCUMENT, offers_alike((value.media_type,)), content=next(contents()))


def _alone(
    scene: Scene, shown: Shown, agreed: Representation, asked: Asked, state: Held | None = None
) -> Sheet | Body:
    """One item without a multipart; of an image that is no animation, its first frame."""
    held = shown.held
    if shown.content is not None:
        tag = entity_tag(_EDITION, held.digest, held.object_key, agreed.media_type)
        return item_body(agreed.media_type, shown.content, tag, bulkdata.safety_of(agreed.media_type))
    headers = _warnings(scene, asked)
    place = f"{held.key.path}/rendered"
    if shown.kind is Kind.REPORT:
        return _sheet(scene, agreed, [_page(scene, held, agreed)], [held.digest], headers | _PAGE_SAFETY)
    if shown.kind is Kind.STATE:
        image, number = shown.references[0]
        view = View(image, (number,), agreed.media_type, asked, state=held)
    else:
        frames = shown.frames if agreed.media_type == ANIMATED else shown.frames[:1]
        view = View(held, frames, agreed.media_type, asked, state=state)
    digests = [view.held.digest, *([view.state.digest] if view.state is not None else [])]
    return _sheet(scene, agreed, [_job(scene, view, place)], digests, headers)


def _multipart(
    scene: Scene, plan: Sequence[tuple[Shown, Representation]], asked: Asked, total: int
) -> Sheet | Body:
    """A part for each item: each frame of an image, each image that a presentation state is for."""
    if len(plan) == 1 and plan[0][0].content is not None:
        shown, agreed = plan[0]
        assert shown.content is not None
        part = Part(agreed.media_type, f"{scene.base}{shown.held.key.path}/rendered", shown.content)
        tag = entity_tag(_EDITION, shown.held.digest, str(agreed), scene.base)
        return parts_body(agreed, [part], tag, scene.block_size)
    headers = _warnings(scene, asked)
    status = 200
    if len(plan) < total:
        status = 206  # PS3.18 Table 10.4.3-1
        told = warning(scene.base, f"{total - len(plan)} of {total} instances cannot be shown as asked.")
        headers["Warning"] = ", ".join(filter(None, (headers.get("Warning"), told)))
    digests: list[bytes | str] = []
    for shown, agreed in plan:
        digests += [shown.held.digest, str(agreed), repr(shown.frames)]
        digests += [image.digest + number.to_bytes(4) for image, number in shown.references]
    tag = entity_tag(_EDITION, *digests, scene.base, repr(asked), str(plan[0][1]))
    return Sheet(plan[0][1], partial(_items, scene, plan, asked), tag, status, headers)


def _items(scene: Scene, plan: Sequence[tuple[Shown, Representation]], asked: Asked) -> Iterator[Item]:
    for shown, agreed in plan:
        held, place = shown.held, f"{shown.held.key.path}/rendered"
        if shown.content is not None:
            yield Part(agreed.media_type, scene.base + place, shown.content)
        elif shown.kind is Kind.REPORT:
            yield _page(scene, held, agreed)
        elif shown.kind is Kind.STATE:
            for image, number in shown.references:
                yield _job(scene, View(image, (number,), agreed.media_type, asked, state=held), place)
        else:
            several = held.shape is not None and held.shape.frames > 1
            for number in shown.frames:
                at = f"{held.key.path}/frames/{number}/rendered" if several else place
                yield _job(scene, View(held, (number,), agreed.media_type, asked, among_others=True), at)


def _job(scene: Scene, view: View, place: str) -> Job:
    make = partial(developed, scene.archive, view, scene.block_size, scene.shelf)
    return Job(view.key, make, view.media_type, scene.base + place, view.steps)


def _page(scene: Scene, held: Held, agreed: Representation) -> Job:
    scene.require_utf8()
    steps: Steps = {}
    make = partial(written, scene.archive, held, agreed.media_type, scene.block_size, steps)
    place = f"{scene.base}{held.key.path}/rendered"
    key = ("page", held.digest, agreed.media_type)
    return Job(key, make, f"{agreed.media_type}; charset=utf-8", place, steps)


def _sheet(
    scene: Scene,
    agreed: Representation,
    items: list[Item],
    digests: Sequence[bytes],
    headers: dict[str, str],
) -> Sheet:
    (job,) = items
    assert isinstance(job, Job)
    tag = entity_tag(_EDITION, *digests, repr(job.key), str(agreed), scene.base if agreed.multipart else "")
    return Sheet(agreed, lambda: iter(items), tag, headers=headers)


def _warnings(scene: Scene, asked: Asked) -> dict[str, str]:
    if not asked.unsupported:
        return {}
    values = ", ".join(asked.unsupported)
    text = f"The following annotation values are not supported: {values}"
    return {"Warning": warning(scene.base, text)}


def _refusal(shown: Sequence[Shown]) -> NotAcceptable:
    """What there would be; or that there is nothing to be shown."""
    available = tuple(dict.fromkeys(str(offer) for one in shown for offer in one.offers))
    if not available and shown and all(one.kind is Kind.STATE for one in shown):
        return NotAcceptable(
            "The presentation state is of a class that is not applied, or none of its images can be shown."
        )
    if not available:
        return NotAcceptable("There is no rendered form of this: it has no picture, text or document.")
    return NotAcceptable("It is not rendered in such a media type.", available)
