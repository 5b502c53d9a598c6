"""What to ask a PACS for, of what it lists and the cache lacks."""

from collections.abc import Collection, Mapping

from bridge.pacs.cache import SeriesKey
from bridge.pacs.listing import Instances
from bridge.pacs.transfer import Wanted
from service.dicom.resource import Resource

FEW = 16
"""Instances that are asked for by name rather than by their series."""


def planned(
    resource: Resource,
    found: Mapping[SeriesKey, Instances],
    missing: Mapping[SeriesKey, Collection[str] | None],
) -> list[tuple[Wanted, list[SeriesKey]]]:
    """What to ask for: a few instances by name, a series as a whole, the study if all of it is missing."""
    incomplete = [key for key, uids in missing.items() if uids is None or uids]
    whole = [key for key in incomplete if (told := found[key]) is None or missing[key] == told.keys()]
    if resource.series is None and len(whole) == len(found):
        return [(Wanted(resource), incomplete)]
    plan: list[tuple[Wanted, list[SeriesKey]]] = []
    for key in incomplete:
        uids = missing[key]
        if uids is not None and key not in whole and len(uids) <= FEW:
            plan.append((Wanted(key.resource, tuple(sorted(uids))), [key]))
        else:
            plan.append((Wanted(key.resource), [key]))
    return plan
