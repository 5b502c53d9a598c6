"""The matching rules as predicates over a DICOM JSON data set (PS3.4 C.2.2.2, PS3.18 8.3.4).

This is the truth: indexes may answer faster, never otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from service.dicom.attributes import (
    BY_PATH,
    DATE_TIMES,
    REQUEST_PATHS,
    TIMEZONE,
    ZONED,
)
from service.dicom.criteria import Filter, Match, is_pattern
from service.dicom.names import fold_name, name_patterns, words
from service.dicom.values import WILDCARDS, Comparable, comparable, element_values
from service.dicom.zones import read_zone, zoned_date, zoned_time

type Dataset = Mapping[str, object]

# Sequences whose items have columns: they are of one item (PS3.3), and only the first counts.
_ONE_ITEM = frozenset(path[0] for path in BY_PATH if len(path) > 1)


def matches(
    filters: Sequence[Filter],
    dataset: Dataset,
    *,
    combined_datetime: bool = False,
    pairs: Sequence[tuple[int, int]] = DATE_TIMES,
) -> bool:
    """Whether `dataset`, a parsed DICOM JSON object, satisfies every filter.

    Filters on attributes of the same sequence must be satisfied by the same item of it. `pairs` are the
    dates and times of which `combined_datetime` makes one interval.
    """
    if combined_datetime:
        filters, intervals = combine(filters, pairs)
        if not all(_in_interval(interval, dataset) for interval in intervals):
            return False
    top = [key for key in filters if len(key.path) == 1]
    if not all(_satisfies(key, dataset, path=key.path) for key in top):
        return False
    nested = sorted((key for key in filters if len(key.path) > 1), key=lambda key: key.path[0])
    return all(_in_an_item(list(keys), dataset, 0) for _, keys in groupby(nested, lambda key: key.path[0]))


type Interval = tuple[Filter, Filter]


def combine(
    filters: Sequence[Filter], pairs: Sequence[tuple[int, int]] = DATE_TIMES
) -> tuple[list[Filter], list[Interval]]:
    """The ranges of a date and of its time, paired (PS3.18 8.3.4.1.1), and the other filters."""
    ranges = {key.path: key for key in filters if key.match is Match.RANGE}
    intervals = [
        (ranges[(date,)], ranges[(time,)]) for date, time in pairs if (date,) in ranges and (time,) in ranges
    ]
    paired = {key.path for interval in intervals for key in interval}
    return [key for key in filters if key.path not in paired or key.match is not Match.RANGE], intervals


def in_zone(dataset: Dataset, zone: int | None) -> Dataset:
    """`dataset` with its dates and times as the time zone `zone` has them, where it tells its own.

    A request that names a time zone means its dates and times in that one (PS3.18 8.3.4).
    """
    own = next(map(read_zone, element_values(dataset.get(_key(TIMEZONE)))), None)
    if zone is None or own is None or own == zone:
        return dataset
    told = dict(dataset)
    for day, hour in ZONED:
        date = _moment("DA", day, dataset)
        time = _moment("TM", hour, dataset)
        if date is not None:
            told[_key(day)] = {"vr": "DA", "Value": [zoned_date(date, time, own, zone)]}
        if time is not None:
            told[_key(hour)] = {"vr": "TM", "Value": [zoned_time(date, time, own, zone)]}
    return told


def _moment(vr: str, tag: int, dataset: Dataset) -> str | None:
    values = element_values(dataset.get(_key(tag)))
    found = comparable(vr, values[0]) if values else None
    return None if found is None else str(found)


def glob(pattern: str, text: str) -> bool:
    """Whether `text` has the form of `pattern`: `*` is any run of characters, `?` any one.

    Takes one step for each character of `text`, whatever the pattern.
    """
    follows, anything, stays, end = _automaton(pattern)
    state = 1  # bit n: the first n symbols of the pattern, asterisks not counted, fit what was seen
    for character in text:
        state = state << 1 & follows.get(character, anything) | state & stays
        if not state:
            return False
    return state & end != 0


@lru_cache(maxsize=64)
def _automaton(pattern: str) -> tuple[Mapping[str, int], int, int, int]:
    """The states that a character leads to, any other character, those kept by `*`, and the final one."""
    count = anything = stays = 0
    literal: dict[str, int] = {}
    for symbol in pattern:
        if symbol == "*":
            stays |= 1 << count
            continue
        count += 1
        if symbol == "?":
            anything |= 1 << count
        else:
            literal[symbol] = literal.get(symbol, 0) | 1 << count
    return {symbol: states | anything for symbol, states in literal.items()}, anything, stays, 1 << count


def _in_an_item(keys: Sequence[Filter], dataset: Dataset, depth: int) -> bool:
    items = [
        item for item in element_values(dataset.get(_key(keys[0].path[depth]))) if isinstance(item, Mapping)
    ]
    if keys[0].path[depth] in _ONE_ITEM:
        items = items[:1]
    return any(_item_satisfies(keys, item, depth + 1) for item in items or [{}])


def _item_satisfies(keys: Sequence[Filter], item: Dataset, depth: int) -> bool:
    here = [key for key in keys if len(key.path) == depth + 1]
    if not all(_satisfies(key, item, path=key.path) for key in here):
        return False
    deeper = sorted((key for key in keys if len(key.path) > depth + 1), key=lambda key: key.path[depth])
    return all(
        _in_an_item(list(group), item, depth) for _, group in groupby(deeper, lambda key: key.path[depth])
    )


def _satisfies(key: Filter, dataset: Dataset, *, path: tuple[int, ...]) -> bool:
    element = dataset.get(_key(path[-1]))
    vr = key.vr or (str(element.get("vr", "")) if isinstance(element, Mapping) else "")
    row = BY_PATH.get(path)
    values = element_values(element)
    if path in REQUEST_PATHS or (row is not None and not row.many):
        values = values[:1]
    if vr == "PN":
        return _name_satisfies(key, [fold_name(value) for value in values])
    if key.match is Match.EMPTY and vr == "SQ":
        return not values
    found = [value for value in (comparable(vr, value) for value in values) if value is not None]
    if key.match is Match.EMPTY:
        return not found
    if key.match is Match.RANGE:
        return any(_between(value, key.values) for value in found)
    wanted = [value for value in (comparable(vr, text) for text in key.values) if value is not None]
    if key.match is Match.ALL:
        return all(value in found for value in wanted)
    tests = [_equals(vr, value) for value in wanted]
    return any(test(value) for test in tests for value in found)


def _equals(vr: str, wanted: Comparable) -> Callable[[Comparable], bool]:
    if isinstance(wanted, str) and vr in WILDCARDS and is_pattern(wanted):
        return lambda value: glob(wanted, str(value))
    return lambda value: value == wanted


def _between(value: Comparable, bounds: Sequence[str]) -> bool:
    low, high = bounds
    return (not low or str(value) >= low) and (not high or str(value) <= high)


def _name_satisfies(key: Filter, names: Sequence[tuple[str, str, str]]) -> bool:
    groups = [[name[position] for name in names if name[position]] for position in range(3)]
    if key.match is Match.EMPTY:
        return not any(groups)
    if key.match is Match.WORDS:
        return any(
            _begin(words(text), words(value)) for text in key.values for group in groups for value in group
        )
    found = (_name_is(name_patterns(text), groups) for text in key.values)
    return all(found) if key.match is Match.ALL else any(found)


def _name_is(asked: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]) -> bool:
    if len(asked) == 1:
        return any(_fits(asked[0], group) for group in groups)
    return all(not wanted or _fits(wanted, group) for wanted, group in zip(asked, groups, strict=False))


def _fits(alternatives: Sequence[str], values: Sequence[str]) -> bool:
    return any(glob(pattern, value) for pattern in alternatives for value in values)


def _begin(wanted: Sequence[str], held: Sequence[str]) -> bool:
    return all(any(word.startswith(start) for word in held) for start in wanted)


def _in_interval(interval: Interval, dataset: Dataset) -> bool:
    days, hours = interval
    day, hour = (_first(key, dataset) for key in interval)
    if not isinstance(day, str):
        return False
    (first, last), (begin, end) = days.values, hours.values
    # An object without a time of day lies anywhere in its day.
    late_enough = not first or day > first or (day == first and (hour is None or str(hour) >= begin))
    early_enough = not last or day < last or (day == last and (hour is None or not end or str(hour) <= end))
    return late_enough and early_enough


def _first(key: Filter, dataset: Dataset) -> Comparable | None:
    values = element_values(dataset.get(_key(key.tag)))
    return comparable(key.vr, values[0]) if values else None


def _key(tag: int) -> str:
    return f"{tag:08X}"
