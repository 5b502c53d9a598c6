"""Where pages of searches ended, so that the next page goes on from there.

A client asks for the next page by its offset. Passing over that many matches costs as much as reading
them, and what was stored or removed meanwhile shifts them: some would come twice, others never. Going on
behind the last match of the page before costs what a first page does, and shifts nothing.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.dicom.query import Query
from service.index.ordering import Place

_SEARCHES = 512  # remembered at a time
_PAGES = 64  # of each
_LIFETIME_S = 300.0
_NEAR = 10_000  # matches that may lie between a bookmark and the page


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The last match before a page is at `place`; `skip` matches lie between it and the page."""

    place: Place
    skip: int


class Bookmarks:
    """The ends of recent pages, by search; used from many threads.

    Of a search only a digest is kept, since its keys may name patients, as places may; those go with
    the first page that is noted after their time.
    """

    def __init__(
        self, *, lifetime_s: float = _LIFETIME_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._guard = threading.Lock()
        self._searches: OrderedDict[bytes, OrderedDict[int, tuple[Place, float]]] = OrderedDict()

    def before(self, query: Query) -> Bookmark | None:
        """The nearest place before the page of `query` that is known, `None` if there is none nearby."""
        if not query.offset:
            return None
        search = _digest(query)
        oldest = self._clock() - self._lifetime_s
        with self._guard:
            pages = self._searches.get(search)
            known = [
                offset
                for offset, (_, since) in (pages or {}).items()
                if query.offset - _NEAR <= offset <= query.offset and since >= oldest
            ]
            if pages is None or not known:
                return None
            nearest = max(known)
            return Bookmark(pages[nearest][0], query.offset - nearest)

    def keep(self, query: Query, found: int, place: Place) -> None:
        """Note that the page of `query` had `found` matches, the last of them at `place`."""
        search = _digest(query)
        offset = query.offset + found
        now = self._clock()
        with self._guard:
            self._forget(now - self._lifetime_s)
            pages = self._searches.setdefault(search, OrderedDict())
            self._searches.move_to_end(search)
            pages[offset] = (place, now)
            pages.move_to_end(offset)
            if len(pages) > _PAGES:
                pages.popitem(last=False)
            if len(self._searches) > _SEARCHES:
                self._searches.popitem(last=False)

    def _forget(self, oldest: float) -> None:
        """Drop what is too old; searches and their pages stand in the order in which they were noted last."""
        while self._searches:
            search = next(iter(self._searches))
            pages = self._searches[search]
            while pages and next(iter(pages.values()))[1] < oldest:
                pages.popitem(last=False)
            if pages:
                return
            del self._searches[search]


def _digest(query: Query) -> bytes:
    """Tells searches and their readers apart, but not the pages of a search, nor what is returned.

    What one reader may know of can change from one page to the next: by then it is another search.
    """
    within = query.confinement
    lists = (within.studies, within.patients) if within is not None else ()
    told = (
        query.reader, query.level, query.study, query.series, query.filters, query.order, query.zone,
        query.private, query.combined_datetime, [one if one is None else sorted(one) for one in lists],
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).digest()
