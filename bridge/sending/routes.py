"""How stored instances get into the contexts that a peer accepted: decisions, without a connection.

What was accepted as it is stored is sent as it is stored. Else the archive is asked for it in what was
accepted; Implicit VR Little Endian is made of Explicit VR Little Endian on the way. Nothing becomes lossy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.scu import Proposal
from bridge.syntaxes import is_made
from bridge.upper.negotiation import MOST_CONTEXTS, Context
from service.dicom.resource import InstanceKey
from service.dicom.syntaxes import (
    BY_UID,
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ROOT,
    Form,
)

AS_STORED = "*"
"""Asks the archive for whatever is stored (PS3.18 8.7.3.5.2)."""

_BOTH = (EXPLICIT_LE, IMPLICIT_LE)
_NATIVE = frozenset((EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED))
# What is proposed of a class whose transfer syntaxes the archive does not tell.
_COMMON = (
    EXPLICIT_LE,
    *(ROOT + tail for tail in (".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5")),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance that the archive has.

    `syntaxes` are those in which it can be had without loss, the stored one first; none if that is not told.
    """

    key: InstanceKey
    sop_class: str
    syntaxes: tuple[str, ...] = ()

    @property
    def stored(self) -> str | None:
        """The transfer syntax in which it leaves untouched."""
        return self.syntaxes[0] if self.syntaxes else None


type Accepted = Mapping[str, Mapping[str, int]]
"""Context ids by class and transfer syntax."""


@dataclass(frozen=True, slots=True)
class Landing:
    """The context in which an object goes out; `implicit` if it is written anew for that."""

    context_id: int
    implicit: bool = False


def accepted_by(contexts: Iterable[Context]) -> Accepted:
    """The contexts in which the peer takes instances."""
    accepted: dict[str, dict[str, int]] = {}
    for context in contexts:
        if context.peer_serves:
            accepted.setdefault(context.abstract, {}).setdefault(context.syntax, context.context_id)
    return accepted


def landing(accepted: Accepted, sop_class: str, syntax: str) -> Landing | None:
    """Where an object in `syntax` goes; `None` if nowhere."""
    contexts = accepted.get(sop_class, {})
    if syntax in contexts:
        return Landing(contexts[syntax])
    if syntax == EXPLICIT_LE and IMPLICIT_LE in contexts:
        return Landing(contexts[IMPLICIT_LE], implicit=True)
    return None


def asks(
    listed: Listed, accepted: Accepted, *, transcode: bool, prefer: str | None, insist: bool = False
) -> tuple[str, ...]:
    """In which transfer syntaxes the archive is asked for an instance, one after another until it has it.

    Nothing if it cannot be sent. Without `transcode` only the heads of elements may change. `prefer` is the
    transfer syntax that is wanted most where the stored one was not accepted, and with `insist` before that.
    """
    usual = _usual(listed, accepted, transcode=transcode, prefer=prefer)
    if not (insist and transcode) or prefer is None or prefer == listed.stored or prefer not in usual:
        return usual
    return (prefer, *(uid for uid in usual if uid != prefer))


def _usual(listed: Listed, accepted: Accepted, *, transcode: bool, prefer: str | None) -> tuple[str, ...]:
    contexts = accepted.get(listed.sop_class, {})
    stored = listed.stored
    if not contexts:
        return ()
    if stored is None:
        return (AS_STORED, *(_made(listed, contexts, prefer) if transcode else _rewritten(contexts)))
    as_stored = (AS_STORED,) if landing(accepted, listed.sop_class, stored) is not None else ()
    syntax = BY_UID.get(stored)
    if syntax is None or syntax.form in (Form.VIDEO, Form.REFERENCE):
        return as_stored
    if transcode:
        return as_stored + _made(listed, contexts, prefer)
    return as_stored + (_rewritten(contexts) if stored in _NATIVE else ())


def passes(listed: Listed, asked: Sequence[str]) -> bool:
    """Whether the archive needs no codec for what it is asked first."""
    return bool(asked) and (asked[0] == AS_STORED or (listed.stored in _NATIVE and asked[0] == EXPLICIT_LE))


def _rewritten(contexts: Mapping[str, int]) -> tuple[str, ...]:
    return (EXPLICIT_LE,) if any(uid in contexts for uid in _BOTH) else ()


def _made(listed: Listed, contexts: Mapping[str, int], prefer: str | None) -> tuple[str, ...]:
    """What it may be made into: the preferred, then uncompressed, then what the archive is known to make."""
    others = [uid for uid in (*listed.syntaxes, *contexts) if uid in contexts and is_made(uid)]
    wanted = [prefer] if prefer is not None and prefer in contexts and is_made(prefer) else []
    every = (*wanted, *_rewritten(contexts), *others)
    return tuple(dict.fromkeys(uid for uid in every if uid != listed.stored or uid == EXPLICIT_LE))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Instances that go over one association, and what is proposed for it."""

    listed: tuple[Listed, ...]
    proposals: tuple[Proposal, ...]


def bundles(listed: Iterable[Listed], *, prefer: str | None) -> list[Bundle]:
    """`listed` in as few associations as hold their classes and transfer syntaxes, in their order.

    Of each class one context for each stored transfer syntax, so that the peer cannot choose another, and
    one with what every peer reads.
    """
    by_class: dict[str, list[Listed]] = {}
    for one in listed:
        by_class.setdefault(one.sop_class, []).append(one)
    made: list[Bundle] = []
    for sop_class, members in by_class.items():
        proposals = _proposals(sop_class, members, prefer) if sop_class else ()
        last = made[-1] if made else None
        if last is not None and len(last.proposals) + len(proposals) <= MOST_CONTEXTS:
            made[-1] = Bundle((*last.listed, *members), (*last.proposals, *proposals))
        else:
            made.append(Bundle(tuple(members), proposals))
    return made


def _proposals(sop_class: str, members: Iterable[Listed], prefer: str | None) -> tuple[Proposal, ...]:
    alone = [prefer] if prefer is not None and prefer not in _BOTH else []
    for one in members:
        alone += _COMMON if one.stored is None else (one.stored,)
    most = MOST_CONTEXTS - 1
    distinct = list(dict.fromkeys(uid for uid in alone if uid != IMPLICIT_LE))[:most]
    return (*(Proposal(sop_class, (uid,)) for uid in distinct), Proposal(sop_class, _BOTH))
