"""Where an arrival goes: by the rules, in their order, and by what their hooks say."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from bridge.forwarding.entry import Route
from bridge.forwarding.hook import HookFailed
from bridge.forwarding.rules import Caller, Rule
from service.dicom.matching import Dataset

log = logging.getLogger("isthmus.forwarding")

type Titles = Mapping[str, str]
"""The AE title of each target that has one."""
type Ask = Callable[[Rule, Mapping[str, Any]], Awaitable[tuple[str, ...] | None]]


class Undecided(Exception):
    """A hook could not be asked, and its rule has its instances wait for that."""


def routes(
    rules: Sequence[Rule], caller: Caller, at: datetime, attributes: Dataset, titles: Titles
) -> tuple[list[Route], bool]:
    """Where something goes by the rules without a hook; and whether one with a hook fits as well."""
    found: dict[str, Route] = {}
    hooked = False
    for rule in rules:
        if rule.fits(caller, at, attributes):
            if rule.hook:
                hooked = True
            else:
                _add(found, rule, rule.to, caller, titles)
    return list(found.values()), hooked


async def all_routes(
    rules: Sequence[Rule],
    caller: Caller,
    at: datetime,
    attributes: Dataset,
    titles: Titles,
    *,
    targets: Collection[str],
    ask: Ask,
) -> list[Route]:
    """Where something goes by all the rules. Raises `Undecided`."""
    found: dict[str, Route] = {}
    for rule in rules:
        if not rule.fits(caller, at, attributes):
            continue
        names: Sequence[str] = rule.to
        if rule.hook:
            try:
                told = await ask(rule, arrival(rule, caller, at, attributes))
                if told is not None and not set(told) <= set(targets):
                    raise HookFailed("it returned a name that is no peer or server")
                names = rule.to if told is None else told
            except HookFailed as failure:
                log.warning('hook=%s rule="%s" failed="%s"', rule.hook, rule.name, failure)
                if rule.hook_failure == "hold":
                    raise Undecided(f"The hook {rule.hook} failed: {failure}.") from failure
        _add(found, rule, names, caller, titles)
    return list(found.values())


def arrival(rule: Rule, caller: Caller, at: datetime, attributes: Dataset) -> dict[str, Any]:
    """What a hook is told."""
    return {
        "calling": caller.calling,
        "called": caller.called,
        "peer": caller.peer or None,
        "time": at.isoformat(timespec="seconds"),
        "rule": rule.name,
        "to": list(rule.to),
        "attributes": without_bulk(attributes),
    }


def without_bulk(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A data set in DICOM JSON without what is no text or number."""
    told: dict[str, Any] = {}
    for tag, element in attributes.items():
        if not isinstance(element, Mapping) or "BulkDataURI" in element or "InlineBinary" in element:
            continue
        values = element.get("Value")
        if element.get("vr") == "SQ" and isinstance(values, list):
            items = [without_bulk(item) for item in values if isinstance(item, Mapping)]
            told[tag] = {**element, "Value": items}
        else:
            told[tag] = element
    return told


def _add(found: dict[str, Route], rule: Rule, names: Sequence[str], caller: Caller, titles: Titles) -> None:
    """Add targets that no earlier rule has named, but the one from which it came."""
    for name in names:
        title = titles.get(name)
        came_from = name == caller.peer or (title is not None and _same(title, caller.calling))
        if not came_from:
            found.setdefault(name, Route(name, rule.transcode, rule.delay_s, rule.quiet_s))


def _same(title: str, other: str) -> bool:
    return title.strip().lower() == other.strip().lower()
