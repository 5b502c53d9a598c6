"""The fields of metadata that a request names, taken out of stored DICOM JSON without parsing it.

PS3.18 has `includefield` for searches alone (8.3.4.3); for metadata it is an extension with the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from service.dicom.attributes import find_tag
from service.dicom.errors import BadRequest
from service.dicom.members import Member, Sought, items, members
from service.dicom.vr import block_of, is_private_creator

INCLUDE = ("includefield", "includeField")  # the second stands in several vendors' documentation
# Specific Character Set and the UIDs of class, instance, study and series are always there.
ALWAYS = (0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E)

_MOST_FIELDS = 500
_MOST_STEPS = 16
_STEP = r"(?:[0-9A-Fa-f]{8}|[A-Za-z][A-Za-z0-9]{1,63})"
_SHAPE = re.compile(rf"{_STEP}(?:\.{_STEP})*", re.ASCII)
_CREATOR_KEY = re.compile(r"[0-9A-Fa-f]{4}00[1-9A-Fa-f][0-9A-Fa-f]", re.ASCII)

type Tree = dict[int, Tree | None]


@dataclass(frozen=True, slots=True)
class Node:
    """What is wanted of one object: `below` leads on into sequences, to `None` for what is wanted whole."""

    below: Mapping[int, Node | None]
    sought: Sought

    @classmethod
    def of(cls, tree: Tree) -> Node:
        below = {tag: None if inner is None else cls.of(inner) for tag, inner in tree.items()}
        return cls(below, Sought.of(list(tree)))


@dataclass(frozen=True, slots=True)
class Selection:
    """Some attributes of data sets: `wanted` says which.

    `creators` names the creator that is meant by a block of private attributes (PS3.18 8.3.4.1): they are
    taken from whichever block it has in an object. `name` is the same for selections that are the same.
    """

    wanted: Node
    creators: Mapping[int, str]
    name: str

    @classmethod
    def from_url(cls, params: Sequence[tuple[str, str]]) -> Selection | None:
        """What the `includefield` parameters ask for; `None` where that is everything.

        Well-formed keywords that are in no dictionary name nothing. `BadRequest` for what is no attribute,
        and for a path whose steps are no sequences.
        """
        fields = [field.strip() for name, text in params if name in INCLUDE for field in text.split(",")]
        fields = [field for field in fields if field]
        if not fields or any(field.lower() == "all" for field in fields):
            return None
        if len(fields) > _MOST_FIELDS:
            raise BadRequest(f"includefield may name {_MOST_FIELDS} attributes at most.")
        paths = sorted({(tag,) for tag in ALWAYS} | {path for field in fields if (path := _path(field))})
        blocks = {block_of(tag) for path in paths for tag in path if tag & 0x10000}
        creators = {
            block: text.strip()
            for name, text in params
            if _CREATOR_KEY.fullmatch(name) and (block := int(name, 16)) in blocks and text.strip()
        }
        return cls(Node.of(_tree(paths)), creators, repr((paths, sorted(creators.items()))))

    def of(self, document: bytes) -> bytes:
        """The object with what is selected of a stored one, slots and places of items kept."""
        return self._of(document, 0, len(document), self.wanted)

    def _of(self, document: bytes, start: int, end: int, node: Node) -> bytes:
        found: dict[int, bytes] = {}
        owners: dict[int, tuple[str, Member]] = {}
        for member in members(document, start, end, node.sought):
            tag = member.tag
            if is_private_creator(tag):
                owners[tag] = (_first_value(document, member), member)
            name = self._named(tag, node, owners)
            if name is None:
                continue
            below = node.below[name]
            made = (
                document[member.start : member.end]
                if below is None
                else self._within(document, member, below)
            )
            if not made:
                continue
            found[tag] = made
            if tag & 0x10000 and (owner := owners.get(block_of(tag))) is not None:
                found[owner[1].tag] = document[owner[1].start : owner[1].end]
        return b"{" + b",".join([found[tag] for tag in sorted(found)]) + b"}"

    def _within(self, document: bytes, member: Member, node: Node) -> bytes:
        """A sequence whose items hold what `node` says; nothing if it is no sequence."""
        if not member.items:
            whole = document[member.start : member.end]
            return whole if whole.endswith(b'"vr":"SQ"}') else b""
        taken = [self._of(document, start, end, node) for start, end in items(document, member.items)]
        return document[member.start : member.items] + b",".join(taken) + b"]}"

    def _named(self, tag: int, node: Node, owners: Mapping[int, tuple[str, Member]]) -> int | None:
        """The name that an element is wanted by: its tag, or that of another block of its creator."""
        private = tag & 0x10000 and not is_private_creator(tag)
        if tag in node.below and not (private and block_of(tag) in self.creators):
            return tag
        if not private:
            return None
        owner = owners.get(block_of(tag))
        for block, creator in self.creators.items():
            name = (block & 0xFFFF0000) | (block & 0xFF) << 8 | (tag & 0xFF)
            if name in node.below and owner is not None and owner[0] == creator and block >> 16 == tag >> 16:
                return name
        return None


IDENTIFIERS = Selection(Node.of(dict.fromkeys(ALWAYS)), {}, "")


def _path(field: str) -> tuple[int, ...]:
    """The tags of a keyword, of digits, or of several with full stops between; empty if one is unknown."""
    if not _SHAPE.fullmatch(field) or field.count(".") >= _MOST_STEPS:
        raise BadRequest(
            "includefield takes keywords, tags of 8 hexadecimal digits, paths of these, or all, with commas."
        )
    steps = [find_tag(step) for step in field.split(".")]
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        return ()
    for tag, vr in known[:-1]:
        if vr not in ("SQ", "", "UN"):
            raise BadRequest(
                f"includefield goes through ({tag >> 16:04X},{tag & 0xFFFF:04X}), which is no sequence."
            )
    return tuple(tag for tag, _ in known)


def _tree(paths: Sequence[tuple[int, ...]]) -> Tree:
    root: Tree = {}
    for path in paths:  # sorted: a sequence as a whole comes before what lies in it
        tree = root
        for tag in path[:-1]:
            below = tree.setdefault(tag, {})
            if below is None:
                break
            tree = below
        else:
            tree[path[-1]] = None
    return root


def _first_value(document: bytes, member: Member) -> str:
    attribute = orjson.loads(b"{" + document[member.start : member.end] + b"}")
    values = attribute[f"{member.tag:08X}"].get("Value") or [""]
    return str(values[0] or "")
