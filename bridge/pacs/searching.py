"""Searches in a PACS: each query asked once, its matches kept for the pages that follow."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from bridge.pacs import contexts
from bridge.pacs.answers import Told, kept_apart, told
from bridge.pacs.cfind import Finder, Match, Matches
from bridge.pacs.confining import narrowed, permitted
from bridge.pacs.line import Line
from bridge.settings import PacsSettings
from service.dicom.attributes import BY_PATH, Returned, level_of
from service.dicom.errors import BadRequest, TooMany, UpstreamTimeout
from service.dicom.identifying import Asked, asked_of, at_level
from service.dicom.query import Query
from service.dicom.querying import UNIQUE
from service.dicom.resource import Level
from service.dicom.values import element_values

_MOST_KEPT_BYTES = 64 << 20
_CUT = "The PACS has more matches than are taken of one search; narrow it"
_UNUSABLE = "Some answers of the PACS lack their unique keys and are left out"
_IGNORED = "The PACS does not match every key of this search"
_STUDY, _SERIES = f"{UNIQUE[Level.STUDY]:08X}", f"{UNIQUE[Level.SERIES]:08X}"


class Searching:
    """Finds what queries are for; those that are equal but for the page share one C-FIND."""

    def __init__(self, line: Line, settings: PacsSettings) -> None:
        self._line = line
        self._settings = settings
        self._kept: OrderedDict[Query, tuple[float, Told]] = OrderedDict()
        self._running: dict[Query, asyncio.Task[Told]] = {}

    async def find(self, query: Query) -> Told:
        """All matches of `query`, of whatever page.

        Raises `BadRequest`, `TooMany`, `Busy`, `NotAuthorized`, `UpstreamFailed` or `UpstreamTimeout`.
        """
        key = kept_apart(query)
        self._expire()
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept[1]
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._search(key))
            self._running[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Ask again: something was stored."""
        self._kept.clear()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, key: Query, task: asyncio.Task[Told]) -> None:
        self._running.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return  # whoever waits is told
        self._kept[key] = (time.monotonic(), task.result())
        while (
            len(self._kept) > 1 and sum(one.size_bytes for _, one in self._kept.values()) > _MOST_KEPT_BYTES
        ):
            self._kept.popitem(last=False)

    def _expire(self) -> None:
        before = time.monotonic() - self._settings.answers_s
        for key in [key for key, (at, _) in self._kept.items() if at < before]:
            del self._kept[key]

    async def _search(self, query: Query) -> Told:
        try:
            async with (
                asyncio.timeout(self._settings.wait_s),
                self._line.association(contexts.finding()) as on,
            ):
                finder = Finder(self._line, on, most=self._settings.max_answers)
                found = Matches()
                for part in narrowed(query):
                    found.add(await _Walk(finder, part, self._settings).run())
        except TimeoutError as cause:
            raise UpstreamTimeout("The PACS takes too long for this search.") from cause
        return await asyncio.to_thread(_finished, query, found)


def _finished(query: Query, found: Matches) -> Told:
    asked = Asked(query, ())
    kept = permitted(query, (match for match in found.found if asked.keeps(match)))
    reasons = ((found.cut, _CUT), (bool(found.unusable), _UNUSABLE), (found.ignored, _IGNORED))
    return told(query, kept, tuple(text for holds, text in reasons if holds), cut=found.cut)


class _Walk:
    """One search, level by level where the PACS wants each level's unique key of those above."""

    def __init__(self, finder: Finder, query: Query, settings: PacsSettings) -> None:
        self._finder = finder
        self._query = query
        self._settings = settings
        self._asked = 0

    async def run(self) -> Matches:
        query = self._query
        if query.level is Level.PATIENT:
            raise BadRequest("A search is for studies, series or instances.")
        # What a search returns of a series has its study's attributes too (PS3.18 Table 10.6.3-4).
        scoped = query.level is Level.STUDY
        if query.level is Level.INSTANCE:
            scoped = query.study is not None and query.series is not None
        named = (*(key.path[0] for key in query.filters), *query.fields)
        if scoped and all(level_of(tag) is query.level for tag in named):
            return await self._ask(query, _scope(query))
        if self._finder.relational:
            shown = tuple(row.tag for row in BY_PATH.values() if row.returned is Returned.ALWAYS)
            every = dict.fromkeys((*query.fields, *(tag for tag in shown if level_of(tag) < query.level)))
            return await self._ask(replace(query, fields=tuple(every)), _scope(query))
        return await self._below(Level.STUDY, query, {})

    async def _below(self, level: Level, query: Query, above: Match) -> Matches:
        """The matches of the whole query below what is fixed of the levels above `level`."""
        found = await self._level(level, query, above)
        if level is self._query.level:
            return found
        gathered = Matches(ignored=found.ignored, unusable=found.unusable, cut=found.cut)
        for match in found.found:
            series = _uid(match, _SERIES) if level is Level.SERIES else query.series
            inner = _narrowed(query, _uid(match, _STUDY), series)
            gathered.add(await self._below(Level(level + 1), inner, {**above, **match}))
            if len(gathered.found) >= self._settings.max_answers:
                gathered.cut = True
                break
        return gathered

    async def _level(self, level: Level, query: Query, above: Match) -> Matches:
        """The matches at one level, with what is known of those above."""
        asked = at_level(query, level)
        if level is Level.STUDY and query.study is not None and not asked.filters:
            needed = self._query.level is Level.SERIES or any(
                level_of(tag) is Level.STUDY for tag in self._query.fields
            )
            if not needed:  # nothing to learn of it
                return Matches([{_STUDY: {"vr": "UI", "Value": [query.study]}}])
        found = await self._ask(asked, _scope(asked))
        for match in found.found:
            for tag, element in above.items():
                match.setdefault(tag, element)
        return found

    async def _ask(self, query: Query, scope: Mapping[str, str]) -> Matches:
        askings = asked_of(query).identifiers
        self._asked += len(askings)
        if self._asked > self._settings.most_walked:
            raise TooMany(
                "This PACS has to be asked study by study, and there are too many; name the study, or narrow "
                "the search."
            )
        return await self._finder.ask(askings, scope)


def _narrowed(query: Query, study: str, series: str | None) -> Query:
    return replace(query, study=study, series=series)


def _scope(query: Query) -> Mapping[str, str]:
    scope = {}
    if query.study is not None:
        scope[_STUDY] = query.study
    if query.series is not None and query.level is Level.INSTANCE:
        scope[_SERIES] = query.series
    return scope


def _uid(match: Match, tag: str) -> str:
    values = element_values(match.get(tag))
    return str(values[0]).strip() if values else ""
