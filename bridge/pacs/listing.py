"""Which instances a PACS holds of a study or a series, asked by C-FIND (PS3.4 C.6.2)."""

import asyncio
from collections.abc import Mapping

from bridge.pacs import contexts
from bridge.pacs.cache import SeriesKey
from bridge.pacs.cfind import Finder, Match, Unanswered
from bridge.pacs.line import Line
from bridge.settings import PacsSettings
from service.dicom.errors import BadRequest, TooMany, UpstreamTimeout
from service.dicom.identifying import Asking
from service.dicom.querying import UNIQUE
from service.dicom.resource import Level, Resource, is_uid
from service.dicom.values import element_values

_SOP_CLASS = 0x00080016
_STUDY, _SERIES = f"{UNIQUE[Level.STUDY]:08X}", f"{UNIQUE[Level.SERIES]:08X}"

type Instances = Mapping[str, str] | None
"""SOP classes by SOP Instance UID, empty where they are not told; `None` where the PACS lists none."""


async def listed(
    line: Line, resource: Resource, settings: PacsSettings, *, classes: bool = False
) -> dict[SeriesKey, Instances]:
    """The instances of each series of `resource`, nothing if the PACS does not have it.

    The SOP class is told of one instance of each series, with `classes` of all of them.

    Raises `Busy`, `NotAuthorized`, `TooMany`, `UpstreamFailed` or `UpstreamTimeout`; `Unanswered` where the
    PACS does not say which series a study has.
    """
    try:
        async with (
            asyncio.timeout(settings.wait_s),
            line.association(contexts.finding()) as association,
        ):
            finder = Finder(line, association, most=settings.max_answers)
            if resource.series is not None:
                keys = [SeriesKey(resource.study, resource.series)]
            else:
                keys = await _series_of(finder, resource.study)
            told = {key: await _instances_of(finder, key, classes=classes) for key in keys}
            return {key: instances for key, instances in told.items() if instances is None or instances}
    except Unanswered:
        if resource.series is None:
            raise
        return {SeriesKey(resource.study, resource.series): None}
    except TimeoutError as cause:
        raise UpstreamTimeout("The PACS takes too long to list what it has.") from cause


async def _series_of(finder: Finder, study: str) -> list[SeriesKey]:
    keys: dict[tuple[int, ...], str] = {(UNIQUE[Level.STUDY],): study, (UNIQUE[Level.SERIES],): ""}
    found = await finder.ask([Asking(Level.SERIES, keys, {})], {_STUDY: study})
    if found.cut:
        raise TooMany("The study has more series than are taken of one search.")
    return [SeriesKey(study, _uid(match, _SERIES)) for match in found.found]


async def _instances_of(finder: Finder, key: SeriesKey, *, classes: bool) -> Instances:
    """The instances of a series; the class of one of them, unless those of all are wanted.

    Most PACS have UIDs and numbers at hand, and open each object for anything else.
    """
    try:
        found = await _ask(finder, key, "", classes=classes)
        if found and not classes:
            one = await _ask(finder, key, next(iter(found)), classes=True)
            found.update({uid: told for uid, told in (one or {}).items() if uid in found})
    except (BadRequest, Unanswered):
        return None
    return found


async def _ask(finder: Finder, key: SeriesKey, instance: str, *, classes: bool) -> dict[str, str] | None:
    """Classes by instance, `None` if there are too many."""
    keys: dict[tuple[int, ...], str] = {
        (UNIQUE[Level.INSTANCE],): instance,
        (UNIQUE[Level.STUDY],): key.study,
        (UNIQUE[Level.SERIES],): key.series,
    }
    if classes:
        keys[(_SOP_CLASS,)] = ""
    asking = Asking(Level.INSTANCE, keys, {})
    found = await finder.ask([asking], {_STUDY: key.study, _SERIES: key.series})
    return None if found.cut else {_uid(one, "00080018"): _uid(one, "00080016") for one in found.found}


def _uid(match: Match, tag: str) -> str:
    values = element_values(match.get(tag))
    text = str(values[0]).strip() if values else ""
    return text if is_uid(text) else ""
