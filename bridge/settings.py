"""The bridge's settings: read from the environment once, validated, then passed on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bridge import syntaxes
from bridge.peers import Peers, read_peers
from service import environment
from service.environment import SettingError


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


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The DICOMweb server behind the bridge, and how long it is waited for."""

    url: str = "http://127.0.0.1:8080/dicom-web"
    token_file: Path | None = None
    ca_file: Path | None = None
    connect_s: float = 10.0
    answer_s: float = 120.0
    """For the answer after the last byte, and for each pause in which the archive reads nothing."""
    continue_s: float = 5.0
    """For the interim answer 100 before an instance is sent that could not be sent again."""
    replay_window_bytes: int = 1 << 20
    """An instance is kept for one replay while it is no larger than this."""
    replay_delay_s: float = 1.0
    """At most this long after a 503 the replay begins."""
    unsent_bytes: int = 1 << 18
    """What may wait in the connection's write buffer."""
    idle_connections: int = 64


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
class BridgeSettings:
    """Everything that the bridge is told from outside."""

    ae_title: str = "ISTHMUS"
    host: str = "127.0.0.1"
    port: int = 11112
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


def read_settings(environ: Mapping[str, str]) -> BridgeSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    return BridgeSettings(
        ae_title=_ae_title(environ),
        host=environment.text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1"),
        port=environment.integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535),
        drain_s=environment.integer(environ, "ISTHMUS_DRAIN_S", 4, most=3600),
        peers=_peers(environ),
        accept_syntaxes=_accept_syntaxes(environ),
        limits=Limits(
            associations=environment.integer(environ, "ISTHMUS_MAX_ASSOCIATIONS", 256, least=1, most=65536),
            associations_per_caller=environment.integer(
                environ, "ISTHMUS_MAX_ASSOCIATIONS_PER_PEER", 64, least=1, most=65536
            ),
        ),
        archive=ArchiveSettings(
            url=_archive_url(environ),
            token_file=_file(environ, "ISTHMUS_ARCHIVE_TOKEN_FILE"),
            ca_file=_file(environ, "ISTHMUS_ARCHIVE_CA"),
        ),
        state=Path(environment.text(environ, "ISTHMUS_BRIDGE_STATE", "./data/bridge")),
    )


def _ae_title(environ: Mapping[str, str]) -> str:
    title = environment.text(environ, "ISTHMUS_AE_TITLE", "ISTHMUS")
    # PS3.5 6.2, AE: at most 16 characters of the default repertoire without backslash.
    if re.fullmatch(r"[ -\[\]-~]{1,16}", title) is None:
        raise SettingError(
            f"ISTHMUS_AE_TITLE must be 1 to 16 ASCII characters without backslash; it is {title!r}."
        )
    return title


def _peers(environ: Mapping[str, str]) -> Peers:
    given = environment.text(environ, "ISTHMUS_PEERS", "")
    return read_peers(Path(given)) if given else Peers()


def _accept_syntaxes(environ: Mapping[str, str]) -> frozenset[str] | None:
    given = environment.text(environ, "ISTHMUS_ACCEPT_SYNTAXES", "")
    try:
        return syntaxes.listed(given.replace(",", " ").split()) if given else None
    except ValueError as unknown:
        raise SettingError(
            "ISTHMUS_ACCEPT_SYNTAXES must be transfer syntaxes that are stored here, such as "
            f"1.2.840.10008.1.2.1 or JPEG2000Lossless or 1.2.840.10008.1.2.4.*; it has {str(unknown)!r}."
        ) from None


def _archive_url(environ: Mapping[str, str]) -> str:
    url = environment.text(environ, "ISTHMUS_ARCHIVE_URL", "")
    if url:
        return _checked_url(url)
    host = environment.text(environ, "ISTHMUS_HOST", "127.0.0.1")
    # What listens on every address is reached on the loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = environment.integer(environ, "ISTHMUS_PORT", 8080, least=1, most=65535)
    prefix = environment.text(environ, "ISTHMUS_PREFIX", "/dicom-web").strip("/")
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"http://{authority}/{prefix}".rstrip("/")


def _checked_url(url: str) -> str:
    example = "such as http://127.0.0.1:8080/dicom-web"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(c <= " " for c in url):
        raise SettingError(f"ISTHMUS_ARCHIVE_URL must be an http or https URL {example}.")
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingError(
            "ISTHMUS_ARCHIVE_URL must have no query, fragment or password; a token comes from "
            "ISTHMUS_ARCHIVE_TOKEN_FILE."
        )
    return url.rstrip("/")


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    given = environment.text(environ, name, "")
    if not given:
        return None
    path = Path(given)
    if not path.is_file():
        raise SettingError(f"{name} must name a file that can be read; it is {given!r}.")
    return path
