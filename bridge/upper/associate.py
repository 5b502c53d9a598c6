"""The A-ASSOCIATE PDUs (PS3.8 9.3.2 to 9.3.4, user information of PS3.7 annex D), as values.

Requests and acceptances are read and written alike, so that either side of an association can be ours.
Reading is patient: items that are not known are passed over, UIDs may be padded, AE titles may hold
anything. Only a structure that cannot be followed is a `ProtocolFault`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.upper.pdu import Kind, ProtocolFault

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1

_FIXED = struct.Struct(">HH16s16s32x")  # version, reserved, called, calling, reserved
_ITEM = struct.Struct(">BxH")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it (PS3.8 9.3.2.2)."""

    context_id: int
    abstract: str
    syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """The acceptor's word on one context (PS3.8 9.3.3.2); `syntax` counts only where `result` is 0."""

    context_id: int
    result: int
    syntax: str


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection for one SOP class (PS3.7 D.3.3.4), as seen by the requestor."""

    abstract: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The sub-items of the user information item (PS3.7 D.3.3).

    `extended` holds the service-class application information by SOP class; `service_classes` the
    service class that common extended negotiation names for a SOP class. `window` is the asynchronous
    operations window (invoked, performed). `identity` says that a user identity was given, and
    `identity_answer` that a positive response is wanted or, in an acceptance, given.
    """

    max_length: int = 0
    implementation_class: str = ""
    implementation_version: str = ""
    window: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()
    service_classes: tuple[tuple[str, str], ...] = ()
    identity: bool = False
    identity_answer: bool = False


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ PDU. AE titles are the 16 bytes as they came, see `ae_title`."""

    called: bytes
    calling: bytes
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    version: int = 1

    def encode(self) -> bytes:
        contexts = b"".join(
            _item(
                0x20,
                bytes((context.context_id, 0, 0, 0))
                + _uid_item(0x30, context.abstract)
                + b"".join(_uid_item(0x40, syntax) for syntax in context.syntaxes),
            )
            for context in self.contexts
        )
        fixed = _FIXED.pack(self.version, 0, self.called.ljust(16), self.calling.ljust(16))
        application = _uid_item(0x10, self.application_context)
        return _pdu(Kind.ASSOCIATE_RQ, fixed + application + contexts + _user_item(self.user, request=True))

    @classmethod
    def decode(cls, body: bytes) -> "AssociateRequest":
        """Read a PDU's body (without its 6 byte header)."""
        version, called, calling = _fixed(body)
        application_context, contexts, user = "", [], UserInformation()
        for kind, value in _items(body, _FIXED.size):
            if kind == 0x10:
                application_context = _uid(value)
            elif kind == 0x20:
                contexts.append(_proposed(value))
            elif kind == 0x50:
                user = _user(value)
        return cls(called, calling, tuple(contexts), user, application_context, version)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """An A-ASSOCIATE-AC PDU; called and calling are the request's bytes, sent back (PS3.8 Table 9-17)."""

    called: bytes
    calling: bytes
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation

    def encode(self) -> bytes:
        contexts = b"".join(
            _item(0x21, bytes((context.context_id, 0, context.result, 0)) + _uid_item(0x40, context.syntax))
            for context in self.contexts
        )
        fixed = _FIXED.pack(1, 0, self.called.ljust(16), self.calling.ljust(16))
        application = _uid_item(0x10, APPLICATION_CONTEXT)
        return _pdu(Kind.ASSOCIATE_AC, fixed + application + contexts + _user_item(self.user, request=False))

    @classmethod
    def decode(cls, body: bytes) -> "AssociateAccept":
        """Read a PDU's body (without its 6 byte header)."""
        _, called, calling = _fixed(body)
        contexts, user = [], UserInformation()
        for kind, value in _items(body, _FIXED.size):
            if kind == 0x21:
                contexts.append(_answered(value))
            elif kind == 0x50:
                user = _user(value)
        return cls(called, calling, tuple(contexts), user)


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """An A-ASSOCIATE-RJ PDU (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return _pdu(Kind.ASSOCIATE_RJ, bytes((0, self.result, self.source, self.reason)))

    @classmethod
    def decode(cls, body: bytes) -> "AssociateReject":
        """Read a PDU's body (without its 6 byte header)."""
        if len(body) < 4:
            raise ProtocolFault("A-ASSOCIATE-RJ cut short")
        return cls(body[1], body[2], body[3])


def ae_title(field_bytes: bytes) -> str | None:
    """The AE title in a field of 16 bytes; `None` if it is blank or holds what AE forbids (PS3.5 6.2)."""
    stripped = field_bytes.strip(b" \0")
    if not stripped or any(not 0x20 <= byte < 0x7F or byte == 0x5C for byte in stripped):
        return None
    return stripped.decode("ascii")


def _pdu(kind: Kind, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid_item(kind: int, uid: str) -> bytes:
    return _item(kind, uid.encode("latin-1"))


def _counted(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _user_item(user: UserInformation, *, request: bool) -> bytes:
    items = [_item(0x51, struct.pack(">I", user.max_length)), _uid_item(0x52, user.implementation_class)]
    if user.window is not None:
        items.append(_item(0x53, struct.pack(">HH", *user.window)))
    items += (
        _item(0x54, _counted(role.abstract.encode("latin-1")) + bytes((role.scu, role.scp)))
        for role in user.roles
    )
    if user.implementation_version:
        items.append(_item(0x55, user.implementation_version.encode("latin-1")))
    items += (_item(0x56, _counted(uid.encode("latin-1")) + info) for uid, info in user.extended)
    if request:
        items += (
            _item(0x57, _counted(uid.encode("latin-1")) + _counted(service.encode("latin-1")) + _counted(b""))
            for uid, service in user.service_classes
        )
        if user.identity:  # a user name without any characters: who calls is the AE title's matter
            items.append(_item(0x58, bytes((1, user.identity_answer)) + _counted(b"") + _counted(b"")))
    elif user.identity_answer:
        items.append(_item(0x59, _counted(b"")))
    return _item(0x50, b"".join(items))


def _fixed(body: bytes) -> tuple[int, bytes, bytes]:
    if len(body) < _FIXED.size:
        raise ProtocolFault("A-ASSOCIATE cut short")
    version, _, called, calling = _FIXED.unpack_from(body)
    return version, called, calling


def _items(value: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    while at < len(value):
        if len(value) - at < _ITEM.size:
            raise ProtocolFault("item header cut short")
        kind, length = _ITEM.unpack_from(value, at)
        at += _ITEM.size
        if len(value) - at < length:
            raise ProtocolFault("item longer than what holds it")
        yield kind, value[at : at + length]
        at += length


def _uid(value: bytes) -> str:
    return value.strip(b" \0").decode("latin-1")


def _proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise ProtocolFault("presentation context cut short")
    abstract, syntaxes = "", []
    for kind, part in _items(value, 4):
        if kind == 0x30:
            abstract = _uid(part)
        elif kind == 0x40:
            syntaxes.append(_uid(part))
    return ProposedContext(value[0], abstract, tuple(syntaxes))


def _answered(value: bytes) -> AnsweredContext:
    if len(value) < 4:
        raise ProtocolFault("presentation context cut short")
    syntax = next((_uid(part) for kind, part in _items(value, 4) if kind == 0x40), "")
    return AnsweredContext(value[0], value[2], syntax)


def _user(value: bytes) -> UserInformation:
    max_length, implementation_class, implementation_version = 0, "", ""
    window, identity, identity_answer = None, False, False
    roles: list[Role] = []
    extended: list[tuple[str, bytes]] = []
    service_classes: list[tuple[str, str]] = []
    for kind, part in _items(value):
        if kind == 0x51 and len(part) >= 4:
            max_length = int.from_bytes(part[:4])
        elif kind == 0x52:
            implementation_class = _uid(part)
        elif kind == 0x53 and len(part) >= 4:
            window = (int.from_bytes(part[:2]), int.from_bytes(part[2:4]))
        elif kind == 0x54:
            uid, rest = _prefixed(part)
            roles.append(Role(_uid(uid), rest[:1] == b"\1", rest[1:2] == b"\1"))
        elif kind == 0x55:
            implementation_version = _uid(part)
        elif kind == 0x56:
            uid, rest = _prefixed(part)
            extended.append((_uid(uid), rest))
        elif kind == 0x57:
            uid, rest = _prefixed(part)
            service_classes.append((_uid(uid), _uid(_prefixed(rest)[0])))
        elif kind == 0x58:
            identity, identity_answer = True, part[1:2] == b"\1"
        elif kind == 0x59:
            identity_answer = True
    return UserInformation(
        max_length,
        implementation_class,
        implementation_version,
        window,
        tuple(roles),
        tuple(extended),
        tuple(service_classes),
        identity,
        identity_answer,
    )


def _prefixed(part: bytes) -> tuple[bytes, bytes]:
    """A value behind its 16 bit length, and what follows it."""
    end = 2 + int.from_bytes(part[:2])
    if len(part) < 2 or len(part) < end:
        raise ProtocolFault("sub-item longer than what holds it")
    return part[2:end], part[end:]
