"""The peers that are known by name, what they may ask for, and what anybody else may."""

import logging
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge import hosts
from bridge.forwarding.rules import Rule, read_rules
from bridge.forwarding.servers import Server, read_server
from bridge.hosts import Network
from bridge.table import Table
from bridge.tls import OwnTls, read_fingerprints, read_trust
from service.environment import SettingError
from service.tls import ServerTrust

log = logging.getLogger("isthmus.peers")

SERVICES = ("echo", "store", "find", "move", "get", "worklist", "commitment", "mpps")
_UNKNOWN_MAY = frozenset({"echo", "store"})
_LOOK_UP_S = 5.0

# Some devices fail above 64 KiB; below 4 KiB headers would outweigh what they carry (PS3.8 D.1).
_PDU_BYTES = (4096, 131072)


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity that the bridge knows: where it is, what it may do, what it can read.

    `callers` are the networks that it calls from. `None` is said of what the general setting decides,
    or of what the bridge finds out by itself.
    """

    name: str
    ae_title: str
    host: str
    port: int
    services: frozenset[str] = frozenset(SERVICES)
    accept_syntaxes: frozenset[str] | None = None
    """The transfer syntaxes that it may store in."""
    prefer_syntax: str | None = None
    """The transfer syntax that is proposed to it first."""
    transcode: bool = True
    """Whether it may be sent an object in another transfer syntax than the stored one."""
    retrieve: str | None = None
    """`get` or `move`, `None` to find out."""
    charset: str | None = None
    """The Specific Character Set of what comes from it without one."""
    max_pdu: int | None = None
    """The longest P-DATA-TF PDU that is announced to it."""
    max_associations: int | None = None
    timeout_s: float | None = None
    strict: bool = False
    callers: tuple[Network, ...] = ()
    tls: ServerTrust | None = None
    """How it is reached over TLS, `None` for in clear."""
    fingerprint: frozenset[str] = frozenset()
    """The fingerprints of the certificates that it is known by; where there are any, by nothing else."""


class Peers:
    """All peers of one bridge; immutable.

    `servers` are the DICOMweb servers that instances are sent on to, `rules` say which ones and when.
    """

    def __init__(
        self,
        peers: Iterable[Peer] = (),
        *,
        unknown: frozenset[str] = _UNKNOWN_MAY,
        loopback: frozenset[str] = frozenset(SERVICES),
        servers: Iterable[Server] = (),
        rules: Iterable[Rule] = (),
    ) -> None:
        self.servers = {server.name: server for server in servers}
        self.rules = tuple(rules)
        self._by_name = {peer.name: peer for peer in peers}
        self._by_title = {_same(peer.ae_title): peer for peer in self._by_name.values()}
        self._bound = {one for peer in self._by_name.values() for one in peer.fingerprint}
        self._unknown = unknown
        self._loopback = loopback

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_name.values())

    def by_name(self, name: str) -> Peer | None:
        """The peer `[peers.NAME]`."""
        return self._by_name.get(name)

    def by_ae_title(self, title: str) -> Peer | None:
        """The peer of this AE title; case and surrounding spaces do not count."""
        return self._by_title.get(_same(title))

    def impostor(self, calling: str, certificate: str) -> bool:
        """Whether a caller's title and certificate contradict each other.

        So they do if the title's peer is known by other certificates than the one that was shown, and if the
        certificate is one that another peer is known by. `certificate` is a fingerprint, empty for none.
        """
        peer = self.by_ae_title(calling)
        if peer is not None and peer.fingerprint:
            return certificate not in peer.fingerprint
        return certificate in self._bound

    def caller(self, calling: str, host: str, certificate: str = "") -> Peer | None:
        """The peer that calls itself `calling` at the address `host`; another address is a stranger's.

        `certificate` is the fingerprint of the one that it has shown, empty for none.
        """
        peer = self.by_ae_title(calling)
        if peer is None or not hosts.within(host, peer.callers) or self.impostor(calling, certificate):
            return None
        return peer

    def allows(self, calling: str, host: str, service: str, certificate: str = "") -> bool:
        """Whether a caller may use `service`, one of `SERVICES`."""
        peer = self.caller(calling, host, certificate)
        if peer is not None:
            return service in peer.services
        return service in (self._loopback if hosts.is_loopback(host) else self._unknown)


def read_peers(path: Path, own: OwnTls | None = None, *, look_up_s: float = _LOOK_UP_S) -> Peers:
    """The peers in a TOML file, their hosts looked up; `own` is what the bridge has for TLS with them.

    A host that is not found keeps nobody from starting: the peer is logged, and a stranger when it calls.
    `SettingError` names file, table and key of what cannot be used.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"ISTHMUS_PEERS: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"ISTHMUS_PEERS: {path} must be a TOML file in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"ISTHMUS_PEERS: {path} is no TOML: {error}.") from None
    whole = Table(f"ISTHMUS_PEERS: {path}", document)
    tables = whole.tables("peers")
    unknown = whole.table("unknown")
    strangers = unknown.choices("services", SERVICES)
    unknown.end()
    servers = [read_server(name, table) for name, table in whole.tables("servers").items()]
    for server in servers:
        if server.name in tables:
            raise SettingError(
                f"ISTHMUS_PEERS: {path}: [servers.{server.name}] has the name of a peer; "
                "give each a name of its own."
            )
    rules = read_rules(whole.rows("rules"), peers=tables, servers=[server.name for server in servers])
    whole.end()
    found = hosts.look_up(
        (table.host("host") for table in tables.values()), timeout_s=look_up_s if tables else 0.0
    )
    peers = [_peer(name, table, found, own or OwnTls()) for name, table in tables.items()]
    _differ(path, peers)
    if strangers is None:
        return Peers(peers, servers=servers, rules=rules)
    return Peers(peers, unknown=strangers, loopback=strangers, servers=servers, rules=rules)


def _peer(name: str, table: Table, found: Mapping[str, tuple[Network, ...]], own: OwnTls) -> Peer:
    host = table.host("host")
    certificates = read_fingerprints(table)
    services = table.choices("services", SERVICES)
    callers = table.networks("calls_from")
    if callers is None and certificates:
        callers = hosts.ANYWHERE  # its certificate says more than its address
    if callers is None and host not in found:
        log.warning("peer name=%s its host is not found, so its calls are those of a stranger", name)
    peer = Peer(
        name=name,
        ae_title=table.ae_title("ae_title"),
        host=host,
        port=table.integer("port", 1, 65535),
        services=frozenset(SERVICES) if services is None else services,
        accept_syntaxes=table.syntaxes("accept_syntaxes"),
        prefer_syntax=table.syntax("prefer_syntax"),
        transcode=table.flag("transcode", True),
        retrieve=table.choice("retrieve", ("get", "move")),
        charset=table.charset("charset"),
        max_pdu=table.optional_integer("max_pdu", *_PDU_BYTES),
        max_associations=table.optional_integer("max_associations", 1, 65536),
        timeout_s=table.seconds("timeout_s"),
        strict=table.flag("strict", False),
        callers=found.get(host, ()) if callers is None else callers,
        tls=read_trust(table, own, certificates),
        fingerprint=certificates,
    )
    table.end()
    return peer


def _differ(path: Path, peers: Iterable[Peer]) -> None:
    """Two peers of one AE title could not be told apart as destinations."""
    names: dict[str, str] = {}
    for peer in peers:
        other = names.setdefault(_same(peer.ae_title), peer.name)
        if other != peer.name:
            raise SettingError(
                f"ISTHMUS_PEERS: {path}: [peers.{peer.name}] ae_title is that of [peers.{other}] too; "
                "give each peer a title of its own."
            )


def _same(title: str) -> str:
    return title.strip(" \0").lower()
