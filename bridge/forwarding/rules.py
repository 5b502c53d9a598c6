"""The rules by which arriving instances are sent on (`[[rules]]` of ISTHMUS_PEERS): read, checked, matched.

Attributes match as keys of a C-FIND do (PS3.4 C.2.2.2): wildcards, ranges, lists, names by their groups.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.table import Table
from service.dicom.attributes import find_tag
from service.dicom.criteria import Filter, Manner, read_key
from service.dicom.errors import BadRequest
from service.dicom.matching import Dataset, glob, matches

EVENTS = ("instance", "mpps")
"""What a rule may be on: an instance that arrives, or a Modality Performed Procedure Step."""

_SHORT = {"modality": "Modality", "station": "StationName", "body_part": "BodyPartExamined"}
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY = 24 * 60
_HOOK = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_NAME = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")
_OF_INSTANCES = ("transcode", "delay_s", "quiet_s", "hook", "hook_failure")


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of each day, in minutes since midnight; one that ends before it begins goes over midnight."""

    begin: int
    end: int

    def have(self, moment: datetime) -> bool:
        """Whether `moment` is within; the last minute is not."""
        minute = 60 * moment.hour + moment.minute
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent something: its AE title, the one that it called, and its name as a peer, if it is one."""

    calling: str
    called: str = ""
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sent on, and where to. Everything that is asked for must hold; what is empty asks nothing.

    `hook` is asked about what fits, and may name other targets; `hook_failure` says what happens if it
    cannot be asked: `hold` keeps the instance until it can, `forward` takes `to`.
    """

    name: str
    to: tuple[str, ...] = ()
    on: str = "instance"
    calling: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    hours: Hours | None = None
    transcode: str | None = None
    """The transfer syntax in which instances of this rule are sent where the target takes it."""
    delay_s: float = 0.0
    """How long an instance waits before it is sent."""
    quiet_s: float = 0.0
    """Nothing more of its study has come for so long before an instance is sent."""
    hook: str = ""
    hook_failure: str = "hold"

    @property
    def tags(self) -> frozenset[int]:
        """The top-level attributes that it looks at."""
        return frozenset(key.path[0] for key in self.filters)

    def may_fit(self, caller: Caller, at: datetime) -> bool:
        """Whether it fits, as far as that can be said without the attributes."""
        return (
            _titled(self.calling, caller.calling)
            and _titled(self.called, caller.called)
            and (self.hours is None or self.hours.have(at))
        )

    def fits(self, caller: Caller, at: datetime, attributes: Dataset) -> bool:
        """Whether it fits what `caller` sent `at` a local time; `attributes` are DICOM JSON, parsed."""
        return self.may_fit(caller, at) and matches(self.filters, attributes)


def read_rules(
    rows: Iterable[Table], *, peers: Collection[str], servers: Collection[str]
) -> tuple[Rule, ...]:
    """The rules of a file; `SettingError` names the place of what cannot be used."""
    rules: list[Rule] = []
    for number, row in enumerate(rows, 1):
        rule = _rule(row, f"rule {number}", frozenset(peers), frozenset(servers))
        if any(rule.name == other.name for other in rules):
            row.complain("name", "must be another one than that of the rules before", rule.name)
        rules.append(rule)
    return tuple(rules)


def _rule(row: Table, default: str, peers: frozenset[str], servers: frozenset[str]) -> Rule:
    on = row.choice("on", EVENTS) or "instance"
    hook = row.text("hook")
    if hook and _HOOK.fullmatch(hook) is None:
        row.complain("hook", "must be module:function", hook)
    to = row.texts("to")
    if not to and not hook:
        row.complain("to", "must name peers or servers", list(to))
    for name in to:
        if name not in peers | servers:
            row.complain("to", "must be names of [peers.NAME] and [servers.NAME]", name)
        if on == "mpps" and name not in peers:
            row.complain("to", "must be peers, since MPPS goes by DIMSE only", name)
    failure = row.choice("hook_failure", ("hold", "forward"))
    if failure == "forward" and not to:
        row.complain("hook_failure", "needs to, where it is to be forwarded then", failure)
    name = row.text("name") or default
    if _NAME.fullmatch(name) is None:
        row.complain("name", "must be 1 to 64 ASCII characters", name)
    when = row.table("when")
    rule = Rule(
        name=name,
        to=tuple(dict.fromkeys(to)),
        on=on,
        calling=_titles(when, "calling"),
        called=_titles(when, "called"),
        filters=_filters(when),
        hours=_hours(when),
        transcode=row.lossless_syntax("transcode"),
        delay_s=row.seconds("delay_s") or 0.0,
        quiet_s=row.seconds("quiet_s") or 0.0,
        hook=hook,
        hook_failure=failure or "hold",
    )
    when.end()
    if on != "instance":
        for key in _OF_INSTANCES:
            if row.has(key):
                row.complain(key, "is for rules on instances only", on)
    row.end()
    return rule


def _filters(when: Table) -> tuple[Filter, ...]:
    found = [_filter(when, key, keyword, when.texts(key)) for key, keyword in _SHORT.items() if when.has(key)]
    attributes = when.table("attributes")
    found += [_filter(attributes, name, name, attributes.texts(name)) for name in attributes.names()]
    attributes.end()
    return tuple(one for one in found if one is not None)


def _filter(table: Table, key: str, name: str, texts: Sequence[str]) -> Filter | None:
    path: list[int] = []
    vr = "SQ"
    for step in name.split("."):
        entry = find_tag(step)
        if entry is None or vr not in ("SQ", "UN", ""):
            table.complain(key, "must be a keyword or tag of DICOM, or a path of them", name)
        tag, vr = entry
        path.append(tag)
    if not texts or not all(text.strip() for text in texts):
        table.complain(key, "must be a text or a list of texts, none of them empty", list(texts))
    try:
        return read_key(tuple(path), vr, key, "\\".join(texts), Manner())
    except BadRequest as error:
        table.complain(key, f"cannot be matched ({error})", list(texts))


def _titles(when: Table, key: str) -> tuple[str, ...]:
    titles = when.texts(key)
    if when.has(key) and not all(
        0 < len(title.strip()) <= 16 and title.isascii() for title in titles or [""]
    ):
        when.complain(key, "must be AE titles of 1 to 16 characters, with * and ? as wildcards", list(titles))
    return tuple(title.strip().upper() for title in titles)


def _titled(patterns: Sequence[str], title: str) -> bool:
    """Whether a title is one of those asked for; as everywhere, its case does not count."""
    return not patterns or any(glob(pattern, title.strip().upper()) for pattern in patterns)


def _hours(when: Table) -> Hours | None:
    text = when.text("time")
    if not text:
        return None
    found = _HOURS.fullmatch(text)
    begin, end = (60 * int(found[1]) + int(found[2]), 60 * int(found[3]) + int(found[4])) if found else (0, 0)
    if begin == end or begin >= _DAY or end > _DAY:
        when.complain("time", "must be two times of the day such as 22:00-06:00", text)
    return Hours(begin, end)


def tags_of(rules: Iterable[Rule]) -> frozenset[int]:
    """The top-level attributes that any of `rules` looks at."""
    return frozenset(tag for rule in rules for tag in rule.tags)


def value_of(attributes: Mapping[str, object], tag: int) -> str:
    """The first value of an attribute of DICOM JSON as text, empty if it has none."""
    element = attributes.get(f"{tag:08X}")
    values = element.get("Value") if isinstance(element, Mapping) else None
    first = values[0] if isinstance(values, list) and values else ""
    return first.strip() if isinstance(first, str) else ""
