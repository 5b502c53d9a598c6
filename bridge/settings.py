"""The bridge's settings: read from the environment once, validated, then passed on."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bridge import hosts, syntaxes
from bridge.archive.settings import ArchiveSettings as ArchiveSettings
from bridge.archive.settings import read_archive
from bridge.forwarding.settings import ForwardingSettings, read_forwarding
from bridge.mpps.settings import MppsSettings, read_mpps
from bridge.peers import Peers, read_peers
from bridge.spool.settings import SpoolSettings, read_spool
from bridge.tls import OwnTls, TlsListening, read_listening, read_own
from bridge.worklist.settings import WorklistSettings, read_worklist
from service import environment
from service.access.settings import AccessSettings, read_access
from service.audit.settings import AuditSettings, read_audit
from service.certificates import pair, pem
from service.environment import SettingError
from service.settings import Settings, networks, origins
from service.tls import Contexts, https_contexts
from service.tracing import collector

log = logging.getLogger("isthmus.bridge")


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds and caps in bytes of one association and of the listener."""

    artim_s: float = 30.0
    """From the connection to the last byte of the A-ASSOCIATE-RQ (PS3.8 9.1.5)."""
    pdu_s: float = 30.0
    """For one PDU from first byte to last, and between two PDUs of one message."""
    idle_s: float = 60.0
    """Between messages."""
    linger_s: float = 2.0
    """For the peer to close the connection after the last PDU of ours."""
    association_bytes: int = 1 << 20
    """The longest A-ASSOCIATE PDU that is read."""
    pdata_bytes: int = 131072
    """The longest P-DATA-TF PDU: announced to the peer, and enforced."""
    connect_s: float = 10.0
    """For the connection to a peer."""
    response_s: float = 60.0
    """For the next response of a peer to a message of ours."""
    command_bytes: int = 1 << 16
    """The longest command set."""
    identifier_bytes: int = 1 << 20
    """The longest identifier of a query, retrieval or request for commitment."""
    window_bytes: int = 1 << 18
    """Received bytes of a data set that wait for their reader before the peer has to."""
    associations: int = 256
    associations_per_caller: int = 64
    """Of one calling AE title at one address."""
    connections: int = 1024
    """Connections without an association; above that the oldest is closed."""
    handshake_s: float = 10.0
    """For the TLS handshake, before the time for the A-ASSOCIATE-RQ begins."""
    handshakes: int = 256
    """TLS handshakes in progress; above that the oldest is ended."""


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """How requests for storage commitment are kept, decided and reported (PS3.4 annex J)."""

    transactions: int = 1000
    """Open ones, of all callers."""
    transactions_per_caller: int = 250
    references: int = 200_000
    """In all open transactions together; they are held in memory."""
    search_s: float = 3600.0
    """How long the archive is asked again when it cannot say what it holds."""
    search_delay_s: float = 1.0
    """Before it is asked for the second time; doubled each time."""
    search_pause_s: float = 60.0
    """The longest such pause."""
    quiet_s: float = 0.1
    """The peer says nothing for so long before it is sent a report where it asked."""
    outcome_s: float = 10.0
    """For the outcome while the association is held for it; an unknown caller's is held for `idle_s`."""
    answer_s: float = 5.0
    """For the answer to a report on the association of the request."""
    same_association_s: float = 60.0
    """From the outcome until a known peer is called, though its association is still open."""
    report_s: float = 86400.0
    """From the request until a report that nobody takes is given up."""
    report_delay_s: float = 5.0
    """Between the first two attempts to call a peer; doubled each time."""
    report_pause_s: float = 900.0
    """The longest such pause."""


@dataclass(frozen=True, slots=True)
class RetrieveSettings:
    """How instances are fetched from the archive for C-GET and C-MOVE (PS3.4 C.4.2, C.4.3)."""

    whole_bytes: int = 8 << 20
    """An instance no larger than this is fetched to its end before its C-STORE begins."""
    held_bytes: int = 256 << 20
    """In such instances, of all retrievals together."""
    ahead: int = 8
    """Instances that are fetched while the peer answers."""
    in_flight: int = 4
    """Of these, such as the archive is asked for one by one."""
    busy_s: float = 30.0
    """How long an archive that answers 503 is asked again for an instance."""
    busy_delay_s: float = 2.0
    """The longest pause before that."""
    pending_s: float = 0.5
    """At least, between two pending responses."""
    still_s: float = 5.0
    """Between two of them where nothing has changed."""
    lost_in_a_row: int = 3
    """Instances at which the destination ended the association, before it is given up."""
    failed_in_a_row: int = 5
    """Instances at which the archive could not be reached, before it is given up."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How many store and retrieve jobs there may be, and how long they are remembered."""

    running: int = 4
    running_per_peer: int = 2
    queued: int = 100
    """Jobs that wait; beyond that one more is refused."""
    retry_after_s: int = 10
    """After which whoever was refused may ask again."""
    resources: int = 1000
    """Studies, series and instances of one job."""
    kept: int = 200
    """Jobs that are over and still told."""
    kept_s: float = 7 * 86400.0
    """How long they are told at most."""
    keep_s: float = 2.0
    """Between two records of how far a job is."""
    held_bytes: int = 64 << 20
    """In instances that are fetched ahead, of all jobs together."""
    cancel_s: float = 10.0
    """How long a peer may go on with what was cancelled before its association is ended."""
    tries: int = 3
    """Of a retrieval whose association is lost or not to be had."""
    try_again_s: float = 5.0
    """Between two of them."""
    archive_s: float = 120.0
    """For the archive to be there before jobs of an earlier run go on."""

    @property
    def most(self) -> int:
        """Jobs that there may be in all, those being forgotten among them."""
        return 2 * (self.running + self.queued) + self.kept


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The bridge's HTTP: where it listens, whose pages may use it, and what it waits for."""

    host: str = "127.0.0.1"
    port: int = 8081
    cors: tuple[str, ...] = ("loopback",)
    any_host: bool = False
    """Whether requests may name any host, as those that come through a proxy do."""
    access: AccessSettings = field(default_factory=AccessSettings)
    tls: Contexts | None = None
    """How it is served over TLS, `None` for in clear."""
    connections: int = 512
    body_bytes: int = 1 << 20
    body_stall_s: float = 30.0
    crossing_s: float = 30.0
    """For what the loop of the associations is asked, beside what waits for a peer."""
    echo_s: float = 10.0
    """For each step of an echo, where nothing is said of the peer."""
    archive_s: float = 3.0
    """For the archive to show that it is there."""


@dataclass(frozen=True, slots=True)
class PacsSettings:
    """How a DIMSE PACS is presented as DICOMweb, and what is kept of it; the numbers are for each peer."""

    cache_bytes: int = 10 << 30
    """The most bytes of objects that are kept, beside what is being read."""
    cache_s: float = 7 * 86400.0
    """A series that nobody has read for so long is let go of."""
    fresh_s: float = 60.0
    """How long the word of the PACS on what it holds is good; it is asked again in the second half."""
    answers_s: float = 30.0
    """How long the matches of a search are kept for its next pages."""
    max_answers: int = 20_000
    """Matches of one search that are taken; the rest is called off."""
    most_walked: int = 200
    """C-FIND requests of one search that a PACS without relational queries needs."""
    associations: int = 4
    """At a time, where the peer says nothing of it."""
    waiting: int = 128
    """Requests that may wait for the PACS at a time."""
    wait_s: float = 300.0
    """The longest that a request waits."""
    settle_s: float = 10.0
    """For instances that come behind the final response of a C-MOVE."""
    singles: int = 3
    """Instances of a series asked for one by one before all of it is fetched."""
    single_s: float = 60.0
    """How long these are remembered."""
    whole_bytes: int = 8 << 20
    """An instance no larger than this is held in memory until it is written."""
    unwritten_bytes: int = 32 << 20
    """In such instances, of one retrieval, before the PACS has to wait."""
    sent_bytes: int = 16 << 20
    """In instances to be stored, before they are sent on."""


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """Everything that the bridge is told from outside."""

    ae_title: str = "ISTHMUS"
    host: str = "127.0.0.1"
    port: int = 11112
    tls: TlsListening | None = None
    """Where associations over TLS are taken, `None` for nowhere."""
    check_called_ae: bool = False
    drain_s: float = 4.0
    peers: Peers = field(default_factory=Peers)
    accept_syntaxes: frozenset[str] | None = None
    """The transfer syntaxes that peers store in, where they have no list of their own; `None` for all."""
    limits: Limits = field(default_factory=Limits)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    state: Path = Path("data/bridge")
    """The folder of what must outlast the program."""
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    retrieve: RetrieveSettings = field(default_factory=RetrieveSettings)
    inbox_ae_title: str = "ISTHMUS_IN"
    """What a PACS is named as the destination of a C-MOVE of ours."""
    pacs: PacsSettings = field(default_factory=PacsSettings)
    web: Settings = field(default_factory=Settings)
    """How a PACS answers that is presented as DICOMweb, where that is as the service does."""
    jobs: JobSettings = field(default_factory=JobSettings)
    forwarding: ForwardingSettings = field(default_factory=ForwardingSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    traces_to: str = ""
    """Where traces go by OTLP over HTTP; nowhere without it."""
    worklist: WorklistSettings = field(default_factory=WorklistSettings)
    mpps: MppsSettings = field(default_factory=MppsSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    own: Settings | None = None
    """The archive beside the bridge, where the bridge enters what it receives itself; `None` for by HTTP."""


def read_settings(environ: Mapping[str, str]) -> BridgeSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    own = read_own(environ)
    peers = _peers(environ, own)
    return BridgeSettings(
        ae_title=_ae_title(environ),
        web=Settings(
            max_results=environment.integer(environ, "ISTHMUS_MAX_RESULTS", 5_000, least=1),
            header_limit=environment.size(environ, "ISTHMUS_HEADER_LIMIT", 32 << 20, least=1 << 20),
            trusted_proxies=networks(environ, "ISTHMUS_TRUSTED_PROXIES"),
        ),
        inbox_ae_title=_ae_title(environ, "ISTHMUS_INBOX_AE_TITLE", "ISTHMUS_IN"),
        pacs=PacsSettings(
            cache_bytes=environment.size(environ, "ISTHMUS_PEER_CACHE", 10 << 30, least=64 << 20),
            cache_s=86400.0 * environment.integer(environ, "ISTHMUS_PEER_CACHE_DAYS", 7, least=1, most=3650),
            fresh_s=environment.integer(environ, "ISTHMUS_PEER_FRESH_S", 60, least=1, most=86400),
            max_answers=environment.integer(environ, "ISTHMUS_PEER_MAX_ANSWERS", 20_000, least=1),
            wait_s=environment.integer(environ, "ISTHMUS_PEER_WAIT_S", 300, least=1, most=86400),
        ),
        host=environment.text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1"),
        port=environment.integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535),
        drain_s=environment.integer(environ, "ISTHMUS_DRAIN_S", 4, most=3600),
        tls=read_listening(environ, own),
        peers=peers,
        accept_syntaxes=_accept_syntaxes(environ),
        limits=Limits(
            associations=environment.integer(environ, "ISTHMUS_MAX_ASSOCIATIONS", 256, least=1, most=65536),
            associations_per_caller=environment.integer(
                environ, "ISTHMUS_MAX_ASSOCIATIONS_PER_PEER", 64, least=1, most=65536
            ),
        ),
        archive=read_archive(environ),
        state=Path(environment.text(environ, "ISTHMUS_BRIDGE_STATE", "./data/bridge")),
        control=_control(environ),
        audit=read_audit(environ),
        traces_to=collector(environ),
        forwarding=read_forwarding(environ, peers),
        worklist=read_worklist(environ),
        mpps=read_mpps(environ),
        spool=read_spool(environ),
        own=_own(environ),
    )


def _own(environ: Mapping[str, str]) -> Settings | None:
    by = environment.one_of(environ, "ISTHMUS_BRIDGE_STORES_BY", "http", ("http", "itself"))
    if by == "http":
        return None
    if not hasattr(os, "memfd_create"):
        raise SettingError("ISTHMUS_BRIDGE_STORES_BY is 'itself', which needs Linux. Say 'http' here.")
    own = Settings.from_environment(environ)
    if own.store.startswith("memory:") or own.index.startswith("memory:"):
        raise SettingError(
            "ISTHMUS_BRIDGE_STORES_BY is 'itself', but what ISTHMUS_STORE and ISTHMUS_INDEX name is in the "
            "memory of one program: the service would never see it. Name files, or say 'http'."
        )
    elsewhere = environment.text(environ, "ISTHMUS_ARCHIVE_URL", "")
    if elsewhere and not hosts.is_loopback(urlsplit(elsewhere).hostname or ""):
        raise SettingError(
            "ISTHMUS_BRIDGE_STORES_BY is 'itself', and ISTHMUS_ARCHIVE_URL names an archive elsewhere: what "
            "is stored here would not be found there. Leave one of them out."
        )
    return own


def _control(environ: Mapping[str, str]) -> ControlSettings:
    host = environment.text(environ, "ISTHMUS_BRIDGE_HOST", "127.0.0.1")
    access = replace(read_access(environ), share_key_file=None)  # links are to studies of the archive
    if not access.safe_beyond_loopback and host != "localhost" and not hosts.is_loopback(host):
        raise SettingError(
            f"ISTHMUS_BRIDGE_HOST is {host!r}, beyond loopback, and ISTHMUS_AUTH is 'none': anyone could "
            "send and fetch studies. Have people sign in (ISTHMUS_AUTH='basic' or 'jwt'), or put an "
            "authenticating proxy in front and write ISTHMUS_AUTH='none!' to allow it."
        )
    return ControlSettings(
        host=host,
        port=environment.integer(environ, "ISTHMUS_BRIDGE_PORT", 8081, most=65535),
        cors=origins(environ, "ISTHMUS_CORS", ("loopback",)),
        any_host=access.safe_beyond_loopback,
        access=access,
        tls=https_contexts(pair(pem(environ, "ISTHMUS_TLS_CERT"), pem(environ, "ISTHMUS_TLS_KEY"))),
    )


def _ae_title(environ: Mapping[str, str], name: str = "ISTHMUS_AE_TITLE", default: str = "ISTHMUS") -> str:
    title = environment.text(environ, name, default)
    # PS3.5 6.2, AE: at most 16 characters of the default repertoire without backslash.
    if re.fullmatch(r"[ -\[\]-~]{1,16}", title) is None:
        raise SettingError(f"{name} must be 1 to 16 ASCII characters without backslash; it is {title!r}.")
    return title


def _peers(environ: Mapping[str, str], own: OwnTls) -> Peers:
    given = environment.text(environ, "ISTHMUS_PEERS", "")
    peers = read_peers(Path(given), own) if given else Peers()
    asked = own.credentials.certificate is not None and own.credentials.authorities is not None
    for peer in peers if not asked else ():
        if peer.fingerprint:
            log.warning(
                "peer name=%s has a fingerprint, and callers are asked for no certificate: its calls are "
                "rejected (ISTHMUS_DIMSE_TLS_CERT, ISTHMUS_DIMSE_TLS_CLIENT_CA)",
                peer.name,
            )
    return peers


def _accept_syntaxes(environ: Mapping[str, str]) -> frozenset[str] | None:
    given = environment.text(environ, "ISTHMUS_ACCEPT_SYNTAXES", "")
    try:
        return syntaxes.listed(given.replace(",", " ").split()) if given else None
    except ValueError as unknown:
        raise SettingError(
            "ISTHMUS_ACCEPT_SYNTAXES must be transfer syntaxes that are stored here, such as "
            f"1.2.840.10008.1.2.1 or JPEG2000Lossless or 1.2.840.10008.1.2.4.*; it has {str(unknown)!r}."
        ) from None
