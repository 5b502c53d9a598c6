"""What is proposed to a PACS for each operation: decisions, without a connection (PS3.8 9.3.2, PS3.4 C)."""

from collections.abc import Iterable

from bridge.scu import Proposal
from bridge.upper.negotiation import MOST_CONTEXTS
from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, REFUSED, ROOT

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"

_PLAIN = (EXPLICIT_LE, IMPLICIT_LE)
# The frequent ones first: where there is no room for a context of each, the others share one.
_FREQUENT = tuple(ROOT + tail for tail in (".4.90", ".4.70", ".4.80", ".4.50", ".5", ".4.91", ".4.201"))
_COMPRESSED = tuple(
    dict.fromkeys((*_FREQUENT, *(uid for uid in BY_UID if uid not in REFUSED and BY_UID[uid].encapsulated)))
)
_RARE = (DEFLATED, EXPLICIT_BE)
_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Classes that are taken where a PACS does not tell which it is going to send, the more frequent ones first.
_COMMON = tuple(
    _STORAGE + tail
    for tail in (
        "2", "4", "1.1", "1", "7", "2.1", "4.1", "6.1", "3.1", "1.2", "1.2.1", "1.1.1", "128", "20",
        "12.1", "12.2", "7.1", "7.2", "7.3", "7.4", "88.11", "88.22", "88.33", "88.34", "88.59", "88.65",
        "88.67", "11.1", "11.2", "104.1", "66.4", "66", "66.1", "66.5", "481.1", "481.2", "481.3", "481.4",
        "481.5", "77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "77.1.5.2", "77.1.6", "77.1.1.1", "77.1.2.1",
        "77.1.4.1", "13.1.3", "1.3", "13.1.1", "130", "128.1", "4.2", "4.3", "2.2", "3", "6", "9.1.1",
        "9.1.2", "12.1.1",
    )
)  # fmt: skip


def finding() -> tuple[Proposal, ...]:
    """For C-FIND; relational queries are asked for (PS3.4 C.5.1.1)."""
    return (Proposal(FIND, _PLAIN, extended=b"\1"),)


def moving() -> tuple[Proposal, ...]:
    """For C-MOVE."""
    return (Proposal(MOVE, _PLAIN),)


def getting(classes: Iterable[str]) -> tuple[Proposal, ...]:
    """For C-GET of instances of `classes`, of the common ones if there are none.

    Each class has a context for what every PACS can send, and others so that what is stored compressed
    can come as it is stored: one for each transfer syntax where there is room for them, since of several in
    one context a PACS takes one, whatever it stores.
    """
    room = MOST_CONTEXTS - 1
    wanted = (tuple(dict.fromkeys(classes)) or _COMMON)[:room]
    proposals = [Proposal(GET, _PLAIN)]
    for sop_class in wanted:
        groups = _groups(room // len(wanted))
        proposals += (Proposal(sop_class, group, scu=False, scp=True) for group in groups if group)
    # A series may have other classes beside those that are known of it.
    others = [sop_class for sop_class in _COMMON if sop_class not in wanted]
    left = MOST_CONTEXTS - len(proposals)
    proposals += (Proposal(sop_class, _PLAIN, scu=False, scp=True) for sop_class in others[:left])
    return tuple(proposals)


def _groups(room: int) -> list[tuple[str, ...]]:
    """Transfer syntaxes in at most `room` contexts."""
    if room == 1:
        return [(*_PLAIN, *_RARE, *_COMPRESSED)[:30]]
    if room > len(_COMPRESSED):
        return [_PLAIN, *((uid,) for uid in _COMPRESSED)]
    alone = max(room - 2, 0)
    return [_PLAIN, *((uid,) for uid in _COMPRESSED[:alone]), _COMPRESSED[alone:]]
