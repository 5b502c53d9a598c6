"""What two sides of an association agree to (PS3.8 7.1, PS3.7 D.3): decisions, without a connection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.upper.associate import (
    APPLICATION_CONTEXT,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Role,
    UserInformation,
    ae_title,
)
from bridge.upper.pdu import ProtocolFault
from service.dicom import part10, syntaxes

MOST_CONTEXTS = 128  # odd context ids from 1 to 255 (PS3.8 Table 9-13)

# Presentation context results (PS3.8 Table 9-18).
ACCEPTED = 0
NO_REASON = 2
ABSTRACT_SYNTAX_UNKNOWN = 3
TRANSFER_SYNTAXES_UNKNOWN = 4

# Rejections (PS3.8 Table 9-21).
APPLICATION_CONTEXT_UNKNOWN = AssociateReject(1, 1, 2)
CALLING_AE_UNKNOWN = AssociateReject(1, 1, 3)
CALLED_AE_UNKNOWN = AssociateReject(1, 1, 7)
VERSION_UNKNOWN = AssociateReject(1, 2, 2)
LIMIT_EXCEEDED = AssociateReject(2, 3, 2)

# Taken only where a context proposes nothing else that we take: one says less about the data than the
# sender knows, the other has to be rewritten for nearly every reader.
_LAST_RESORTS = (syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context.

    `peer_serves` says that the peer is an SCP of the class: as acceptor, or by role selection as for
    C-GET; `we_serve` says the same of us. `service_class` is what common extended negotiation said of
    the class, or empty; `extended` the service-class application information that was agreed (PS3.7
    D.3.3.5), or empty.
    """

    context_id: int
    abstract: str
    syntax: str
    peer_serves: bool = False
    service_class: str = ""
    extended: bytes = b""
    we_serve: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """How one abstract syntax is served.

    `choose` picks one of the transfer syntaxes proposed, or none; its second argument says that the
    peer wants to be the SCP. `extended` answers SOP class extended negotiation, `None` for no answer.
    """

    choose: Callable[[Sequence[str], bool], str | None]
    extended: Callable[[bytes], bytes | None] = lambda info: None


# The offer for an abstract syntax whose common extended negotiation names a service class (or "").
Catalogue = Callable[[str, str], Offer | None]


def choose_for_storage(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The transfer syntax in which a storage context is accepted.

    As SCP: the requestor's order among all that are stored here, and only then Implicit VR Little
    Endian and Explicit VR Big Endian. Toward a peer that is SCP (C-GET): first what it surely reads.
    """
    known = [uid for uid in proposed if uid in syntaxes.BY_UID and uid not in syntaxes.REFUSED]
    if peer_serves:
        first = [uid for uid in (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE) if uid in known]
        return next(iter(first + known), None)
    ranked = [uid for uid in known if uid not in _LAST_RESORTS]
    return next(iter(ranked + [uid for uid in _LAST_RESORTS if uid in known]), None)


def refusal(
    request: AssociateRequest, *, called_ae: str | None, crowded: Callable[[str], bool]
) -> AssociateReject | None:
    """Why `request` is rejected as a whole, `None` if it is not.

    `called_ae` is the only title that may be called, compared without case; `None` allows any.
    `crowded` says of a calling AE title that it, or everybody, has too many associations.
    """
    if not request.version & 1:
        return VERSION_UNKNOWN
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_UNKNOWN
    calling, called = ae_title(request.calling), ae_title(request.called)
    if calling is None:
        return CALLING_AE_UNKNOWN
    if called is None or (called_ae is not None and called.lower() != called_ae.lower()):
        return CALLED_AE_UNKNOWN
    return LIMIT_EXCEEDED if crowded(calling) else None


def accept(
    request: AssociateRequest, catalogue: Catalogue, *, max_length: int
) -> tuple[AssociateAccept, Mapping[int, Context]]:
    """The acceptance of `request` and the contexts it makes, by id.

    `ProtocolFault` if one context id is given to two different proposals.
    """
    service_classes = dict(request.user.service_classes)
    roles = {role.abstract: role for role in request.user.roles}
    extended = dict(request.user.extended)
    contexts: dict[int, Context] = {}
    answers: list[AnsweredContext] = []
    agreed_roles: dict[str, Role] = {}
    agreed_extended: dict[str, bytes] = {}
    for proposal in _distinct(request.contexts)[:MOST_CONTEXTS]:
        service_class = service_classes.get(proposal.abstract, "")
        offer = catalogue(proposal.abstract, service_class)
        role = roles.get(proposal.abstract)
        context = _context(proposal, offer, role, service_class)
        if isinstance(context, AnsweredContext):
            answers.append(context)
            continue
        answers.append(AnsweredContext(context.context_id, ACCEPTED, context.syntax))
        if role is not None:
            agreed_roles[role.abstract] = role
        if offer is not None and (info := extended.get(context.abstract)) is not None:
            answer = offer.extended(info)
            if answer is not None:
                agreed_extended[context.abstract] = answer
                context = replace(context, extended=answer)
        contexts[context.context_id] = context
    user = UserInformation(
        max_length=max_length,
        implementation_class=part10.IMPLEMENTATION_CLASS_UID,
        implementation_version=part10.IMPLEMENTATION_VERSION_NAME,
        window=None if request.user.window is None else (1, 1),
        roles=tuple(agreed_roles.values()),
        extended=tuple(agreed_extended.items()),
        identity_answer=request.user.identity_answer,
    )
    return AssociateAccept(request.called, request.calling, tuple(answers), user), contexts


def agreed(request: AssociateRequest, accepted: AssociateAccept) -> Mapping[int, Context]:
    """The contexts that a peer's acceptance of our `request` makes, by id.

    Contexts that were not proposed and transfer syntaxes that were not offered count as refused, roles
    and extended negotiation that were not asked for as unsaid.
    """
    proposals = {proposal.context_id: proposal for proposal in request.contexts}
    wanted = {role.abstract: role for role in request.user.roles}
    roles = {
        role.abstract: Role(role.abstract, role.scu and asked.scu, role.scp and asked.scp)
        for role in accepted.user.roles
        if (asked := wanted.get(role.abstract)) is not None
    }
    begun = {abstract for abstract, _ in request.user.extended}
    extended = {abstract: info for abstract, info in accepted.user.extended if abstract in begun}
    contexts: dict[int, Context] = {}
    for answer in accepted.contexts:
        proposal = proposals.get(answer.context_id)
        if proposal is None or answer.result != ACCEPTED or answer.syntax not in proposal.syntaxes:
            continue
        role = roles.get(proposal.abstract)
        contexts[answer.context_id] = Context(
            answer.context_id,
            proposal.abstract,
            answer.syntax,
            peer_serves=role is None or role.scu,
            extended=extended.get(proposal.abstract, b""),
            we_serve=role is not None and role.scp,
        )
    return contexts


def _distinct(proposals: Sequence[ProposedContext]) -> list[ProposedContext]:
    by_id: dict[int, ProposedContext] = {}
    for proposal in proposals:
        if by_id.setdefault(proposal.context_id, proposal) != proposal:
            raise ProtocolFault("one context id for two proposals")
    return list(by_id.values())


def _context(
    proposal: ProposedContext, offer: Offer | None, role: Role | None, service_class: str
) -> Context | AnsweredContext:
    # A refusal must carry a transfer syntax too, and nobody reads it (PS3.8 Table 9-18).
    said = proposal.syntaxes[0] if proposal.syntaxes else syntaxes.IMPLICIT_LE
    if proposal.context_id % 2 == 0:
        return AnsweredContext(proposal.context_id, NO_REASON, said)
    if offer is None:
        return AnsweredContext(proposal.context_id, ABSTRACT_SYNTAX_UNKNOWN, said)
    peer_serves = role is not None and role.scp
    syntax = offer.choose(proposal.syntaxes, peer_serves)
    if syntax is None:
        return AnsweredContext(proposal.context_id, TRANSFER_SYNTAXES_UNKNOWN, said)
    we_serve = role is None or role.scu
    return Context(
        proposal.context_id, proposal.abstract, syntax, peer_serves, service_class, we_serve=we_serve
    )
