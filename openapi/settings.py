"""`python -m openapi.settings`: write docs/settings.md from the table of what can be set.

A setting that a program reads has a row here; a test says which one is missing. Defaults are not written
down: they are what the programs take where nothing is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.settings import read_settings
from service.environment import as_size
from service.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/settings.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: settings that belong together, and what they say.

    `fields` are where their values lie in the programs' settings, `bridge.` before those of the bridge;
    `default` is the default in words, where it is none of a field. `unit` is bytes, seconds or nothing.
    """

    names: tuple[str, ...]
    meaning: str
    fields: tuple[str, ...] = ()
    default: str = ""
    unit: str = ""


def _one(name: str, field: str, meaning: str, *, unit: str = "", default: str = "") -> Row:
    return Row((name,), meaning, (field,) if field else (), default, unit)


STORAGE = (
    _one(
        "ISTHMUS_STORE",
        "store",
        "where objects are kept; what follows `://` is the path: `file:///abs`, `file://./rel`; "
        "`s3://bucket/prefix`: in S3, with credentials, profile, region and certificates as the AWS tools "
        "find them (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, `AWS_REGION`, "
        "`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_CA_BUNDLE` …); `memory://` keeps nothing",
    ),
    _one(
        "ISTHMUS_S3_ENDPOINT",
        "",
        "another store that speaks S3, `https://s3.example.org` or `http://10.0.0.5:9000`: addressed by "
        "path, and sent no checksums that it did not ask for",
        default="AWS",
    ),
    _one(
        "ISTHMUS_S3_CLIENT",
        "s3_client",
        "the library that moves objects; `boto3` takes several times the CPU and reads from stores that "
        "answer a range with status 200",
    ),
    _one(
        "ISTHMUS_INDEX",
        "index",
        "where the index is kept, written likewise; `postgresql://user:password@host/name`: in a "
        "PostgreSQL database (14 or newer, encoding UTF8), which any number of pods share; what "
        "PostgreSQL's URLs and its `PG…` variables may say counts (`sslmode`, `target_session_attrs`, "
        "several hosts); `memory://` keeps nothing",
    ),
    _one(
        "ISTHMUS_INDEX_CONNECTIONS",
        "index_connections",
        "the most connections of each process to the database; pods × `ISTHMUS_WORKERS` × this has to stay "
        "below its `max_connections`",
    ),
    _one(
        "ISTHMUS_ON_DUPLICATE",
        "on_duplicate",
        "when the UIDs of an instance are taken by other content: `refuse` it (0111H), `keep` the first "
        "(B006H), `replace` it",
    ),
)

HTTP = (
    Row(("ISTHMUS_HOST", "ISTHMUS_PORT"), "where the service listens", ("host", "port")),
    Row(
        ("ISTHMUS_TLS_CERT", "ISTHMUS_TLS_KEY"),
        "a certificate with its chain, and its key, in PEM: the service and the bridge's HTTP speak HTTPS "
        "then (TLS 1.2 and 1.3), and nothing else on these ports. Files that change are used by the next "
        "connection",
        default="none",
    ),
    _one(
        "ISTHMUS_PREFIX",
        "prefix",
        "the DICOMweb root; `/wado`, `/openapi.json`, `/api`, `/healthz`, `/readyz` and `/metrics` stand "
        "beside it",
    ),
    _one(
        "ISTHMUS_PUBLIC_URL",
        "",
        "the whole DICOMweb root as clients see it, written into answers; for proxies that rewrite paths "
        "and do not say so",
        default="from the request",
    ),
    _one(
        "ISTHMUS_TRUSTED_PROXIES",
        "trusted_proxies",
        "addresses and networks (`10.0.0.1 192.168.0.0/16`) whose `Forwarded`, `X-Forwarded-Host`, "
        "`-Proto`, `-Port` and `-Prefix` are believed; they come before `ISTHMUS_PUBLIC_URL`. Such a proxy "
        "has to set or remove each of these headers, since clients can send them too",
    ),
    _one(
        "ISTHMUS_CORS",
        "cors",
        "origins whose pages may use the service and the bridge (`https://viewer.example.org`), "
        "`loopback` for those of "
        "this machine on any port; `*` alone: everybody, for reading and without credentials; `none`: "
        "nobody",
    ),
    _one("ISTHMUS_WORKERS", "", "processes that answer HTTP", default="allowed CPUs, at most 4"),
    _one(
        "ISTHMUS_DRAIN_S",
        "drain_s",
        "how long each program may take to finish what is in flight when it is told to stop",
        unit="seconds",
    ),
)

ACCESS = (
    _one(
        "ISTHMUS_AUTH",
        "",
        "how people sign in at service and bridge: `basic` with a name and a password, `jwt` with a token of "
        "an OpenID provider, `basic,jwt` either; `none` has nobody sign in and refuses to listen beyond "
        "loopback; `none!` allows it, for use behind an authenticating proxy. See [security](security.md)",
        default="`none`",
    ),
    _one(
        "ISTHMUS_PASSWORDS_FILE",
        "access.passwords_file",
        "a file of lines `name:hash` or `name:hash:scopes`, as `isthmus password NAME` or `htpasswd -B` "
        "writes them; who has no scopes there may do everything. It is read again when it changes",
    ),
    _one(
        "ISTHMUS_OIDC_ISSUER",
        "access.issuer",
        "the OpenID provider whose tokens are taken, as its tokens name it (`iss`); its keys are found below "
        "`/.well-known/openid-configuration`",
    ),
    _one(
        "ISTHMUS_OIDC_AUDIENCE",
        "access.audience",
        "what tokens for this server have in their claim `aud`",
    ),
    _one(
        "ISTHMUS_OIDC_CLIENT_ID",
        "access.client_id",
        "the public client as which browsers sign in, for [the page](page.md) and OHIF",
    ),
    _one(
        "ISTHMUS_OIDC_SCOPE",
        "access.asked_scope",
        "the scopes that browsers ask the provider for",
    ),
    _one(
        "ISTHMUS_OIDC_SCOPE_PREFIX",
        "",
        "what stands before `read`, `store`, `delete`, `render` and `share` in a token's `scope`, `scp` or "
        "`roles`",
        default="`dicom:` or nothing",
    ),
    Row(
        ("ISTHMUS_OIDC_STUDIES_CLAIM", "ISTHMUS_OIDC_PATIENTS_CLAIM"),
        "claims of a token with the Study Instance UIDs, or the Patient IDs, that its bearer is confined to; "
        "whose token does not have them may know of everything",
        ("access.studies_claim", "access.patients_claim"),
    ),
    _one(
        "ISTHMUS_OIDC_CA",
        "access.ca_file",
        "a file with certificates that the provider is checked against, beside those of the machine",
    ),
    _one(
        "ISTHMUS_SHARE_KEY_FILE",
        "access.share_key_file",
        "a file with keys for links to studies, one a line (`openssl rand -base64 32`): the first signs, all "
        "are gone by; without it there are no links. It is read again when it changes",
    ),
)

PAGE = (
    _one(
        "ISTHMUS_BRIDGE_URL",
        "bridge_url",
        "where browsers reach the bridge's HTTP interface, for [the page](page.md): without it, it offers "
        "nothing about peers",
        default="the bridge's address under `isthmus up` on loopback, else none",
    ),
    _one(
        "ISTHMUS_OHIF_URL",
        "ohif_url",
        "where OHIF is if it is not served here, for links of [the page](page.md) that open a study in it",
    ),
    _one(
        "ISTHMUS_OHIF",
        "ohif",
        "the folder of an unpacked build of OHIF, which is then served as a viewer",
    ),
)

LIMITS = (
    _one(
        "ISTHMUS_MAX_REQUESTS",
        "max_requests",
        "requests of each process that are answered at the same time; one more is answered 503 with "
        "Retry-After at once. Store requests take half of the places at most, and 512",
    ),
    _one(
        "ISTHMUS_MAX_BODY",
        "max_body",
        "the largest body of a store request, unzipped too; a larger one is answered 413, and its "
        "instances before the limit are stored",
        unit="bytes",
    ),
    _one(
        "ISTHMUS_MAX_INSTANCE",
        "max_instance",
        "the largest instance; a larger one is refused (A700H), the others of its request are stored",
        unit="bytes",
    ),
    _one(
        "ISTHMUS_MAX_RESPONSE",
        "",
        "the largest body of an answer: a larger one is answered 413, or broken off where its size is not "
        "known before; `0` sets no limit",
        default="`0`",
        unit="bytes",
    ),
    _one(
        "ISTHMUS_HEADER_LIMIT",
        "header_limit",
        "the largest element that is read whole; a larger one is refused (A700H)",
        unit="bytes",
    ),
    _one("ISTHMUS_MAX_RESULTS", "max_results", "the most matches of one page of a search"),
    _one(
        "ISTHMUS_STATEMENT_S",
        "statement_s",
        "how long a search may take; one that takes longer is answered 503 with advice how to narrow it",
        unit="seconds",
    ),
)

PIXELS = (
    _one(
        "ISTHMUS_PIXEL_QUEUE",
        "pixel_queue",
        "how many frames of each process may wait for being decoded or encoded; beyond that requests are "
        "answered 503 with Retry-After",
    ),
    _one(
        "ISTHMUS_PIXEL_CACHE",
        "pixel_cache",
        "how much of decoded, encoded and rendered frames each process keeps for the next who asks; a "
        "quarter is for the samples and attributes that pictures are made of; `0` keeps nothing",
        unit="bytes",
    ),
    _one(
        "ISTHMUS_DECODED_SYNTAXES",
        "",
        "transfer syntaxes whose frames are decoded for clients that ask for `application/octet-stream` in "
        "any (`transfer-syntax=*`), since browsers cannot; UIDs separated by commas or spaces, or `none`",
        default="JPEG XL (`.4.110`, `.4.111`, `.4.112`), `.8.1`, `.1.98`",
    ),
)

BRIDGE = (
    _one("ISTHMUS_AE_TITLE", "bridge.ae_title", "the bridge's AE title"),
    Row(
        ("ISTHMUS_DIMSE_HOST", "ISTHMUS_DIMSE_PORT"),
        "where the bridge listens",
        ("bridge.host", "bridge.port"),
    ),
    Row(
        ("ISTHMUS_DIMSE_TLS_CERT", "ISTHMUS_DIMSE_TLS_KEY"),
        "a certificate with its chain, and its key, in PEM: associations are taken over TLS too, and "
        "peers that are reached over TLS are shown it. Files that change are used by the next connection",
        default="none",
    ),
    Row(
        ("ISTHMUS_DIMSE_TLS_HOST", "ISTHMUS_DIMSE_TLS_PORT"),
        "where associations over TLS are taken",
        default="`ISTHMUS_DIMSE_HOST`, `2762`",
    ),
    _one(
        "ISTHMUS_DIMSE_TLS_CLIENT_CA",
        "",
        "a file with certificates of authorities: whoever calls over TLS must have a certificate of "
        "theirs. Peers that are reached over TLS are checked against them too; without it, against the "
        "system's",
        default="none",
    ),
    _one(
        "ISTHMUS_DIMSE_TLS_PROFILE",
        "",
        "`bcp195`: TLS 1.3, and 1.2 with ECDHE and AES-GCM; `legacy-non-downgrading` adds DHE with AES-GCM",
        default="`bcp195`",
    ),
    _one(
        "ISTHMUS_ARCHIVE_URL",
        "",
        "the DICOMweb root of the server behind the bridge",
        default="from `ISTHMUS_HOST`, `ISTHMUS_PORT`, `ISTHMUS_PREFIX`",
    ),
    _one(
        "ISTHMUS_BRIDGE_STORES_BY",
        "",
        "`http`: what modalities send goes to `ISTHMUS_ARCHIVE_URL` by STOW-RS. `itself`: the bridge enters "
        "it into `ISTHMUS_STORE` and `ISTHMUS_INDEX` as the service does, for about half the processor time; "
        "for a bridge on the machine of the files. All else goes by HTTP either way",
        default="`http`; under `isthmus up` on files, `itself`",
    ),
    _one(
        "ISTHMUS_ARCHIVE_TOKEN_FILE",
        "bridge.archive.token_file",
        "a file with the bearer token for that server, or `name:password`; it is read again when it changes. "
        "Under `isthmus up` the bridge signs in to its own service without one",
    ),
    _one(
        "ISTHMUS_ARCHIVE_CA",
        "bridge.archive.ca_file",
        "a file with the certificates that server is checked against; the service beside the bridge needs "
        "none, being known by `ISTHMUS_TLS_CERT`",
    ),
    _one(
        "ISTHMUS_BRIDGE_STATE",
        "",
        "the folder in which the bridge keeps what has to outlast it: the spool and its quarantine, what is "
        "to be forwarded, requests for storage commitment that are not reported, and jobs. One bridge has it "
        "at a time; a second one refuses to start. Files that cannot be read are renamed to `*.damaged` and "
        "logged",
        default="`./data/bridge`",
    ),
    _one(
        "ISTHMUS_SPOOL",
        "",
        "store and forward: instances that the archive cannot take at the time are acknowledged and kept in "
        "`ISTHMUS_BRIDGE_STATE` until it can, at most so many bytes of them; beyond that A700H, see "
        "[spool.md](spool.md)",
        unit="bytes",
        default="off: A700H, and the sender keeps its copy",
    ),
    _one(
        "ISTHMUS_FORWARD_MAX",
        "bridge.forwarding.most",
        "instances that may wait to be [forwarded](forwarding.md) or have failed, for all targets together; "
        "beyond that instances that a rule forwards are refused (A700H). Each takes about 1 KiB of memory",
    ),
    _one(
        "ISTHMUS_FORWARD_DAYS",
        "",
        "how long an instance is tried before it counts as failed",
        unit="days",
        default="`7`",
    ),
    _one(
        "ISTHMUS_HOOKS",
        "bridge.forwarding.hooks",
        "the folder of the Python modules that rules name as [hooks](forwarding.md#hooks)",
    ),
    _one(
        "ISTHMUS_HOOK_TIMEOUT_S",
        "bridge.forwarding.hook_timeout_s",
        "how long a hook may take for an instance before its process is ended",
        unit="seconds",
    ),
    Row(
        ("ISTHMUS_BRIDGE_HOST", "ISTHMUS_BRIDGE_PORT"),
        "where the [bridge's HTTP](bridge-http.md) listens; beyond loopback only if `ISTHMUS_AUTH` is "
        "not `none`",
        ("bridge.control.host", "bridge.control.port"),
    ),
    Row(
        ("ISTHMUS_MAX_ASSOCIATIONS", "ISTHMUS_MAX_ASSOCIATIONS_PER_PEER"),
        "associations at a time: in total, and of one calling AE title at one address",
        ("bridge.limits.associations", "bridge.limits.associations_per_caller"),
    ),
    _one(
        "ISTHMUS_PEERS",
        "",
        "a TOML file with the peers that the bridge knows and what they may do, see [DIMSE](dimse.md#peers)",
        default="none",
    ),
    _one(
        "ISTHMUS_ACCEPT_SYNTAXES",
        "",
        "transfer syntaxes in which peers may store, where their entry in `ISTHMUS_PEERS` says nothing "
        "else: UIDs, patterns (`1.2.840.10008.1.2.4.*`) or keywords (`JPEG2000Lossless`) separated by "
        "commas or spaces; Implicit VR Little Endian always is one. What is refused, the sender has to "
        "convert",
        default="all that are stored",
    ),
)

PACS = (
    _one(
        "ISTHMUS_INBOX_AE_TITLE",
        "bridge.inbox_ae_title",
        "what a PACS is named as the destination of a C-MOVE that the bridge asks of it: an AE title that "
        "the PACS knows with the bridge's host and `ISTHMUS_DIMSE_PORT`",
    ),
    _one(
        "ISTHMUS_PEER_CACHE",
        "bridge.pacs.cache_bytes",
        "the most that is kept of the objects of each PACS that is asked by DICOMweb",
        unit="bytes",
    ),
    _one(
        "ISTHMUS_PEER_CACHE_DAYS",
        "",
        "days after which a series that nobody has read is let go of",
        default="`7`",
        unit="days",
    ),
    _one(
        "ISTHMUS_PEER_FRESH_S",
        "bridge.pacs.fresh_s",
        "how long the word of a PACS on what it holds is good",
        unit="seconds",
    ),
    _one(
        "ISTHMUS_PEER_MAX_ANSWERS",
        "bridge.pacs.max_answers",
        "matches of one search that are taken of a PACS; the rest is called off",
    ),
    _one(
        "ISTHMUS_PEER_WAIT_S",
        "bridge.pacs.wait_s",
        "the longest that a request waits for a PACS",
        unit="seconds",
    ),
)

PROCEDURES = (
    _one(
        "ISTHMUS_WORKLIST",
        "",
        "where the [modality worklist](worklist.md) comes from: `pushed` (items sent to the bridge's HTTP), "
        "`file:///FOLDER` of worklist files, `sqlite:///FILE?view=NAME`, "
        "`postgresql://user@host/name?view=NAME`; several are joined by commas, `none` offers no worklist",
        default="`pushed`",
    ),
    _one(
        "ISTHMUS_WORKLIST_DONE",
        "",
        "whether scheduled steps are told to modalities when a [performed one](mpps.md) for them is "
        "COMPLETED: `hide` or `show`",
        default="`hide`",
    ),
    _one(
        "ISTHMUS_MPPS_DAYS",
        "",
        "how long a performed procedure step is kept after the last message about it",
        default="`30`",
        unit="days",
    ),
)

WATCHING = (
    _one(
        "ISTHMUS_AUDIT",
        "audit.sink",
        "where service and bridge tell who saw, sent and deleted what, see [audit.md](audit.md): `off`, "
        "`stdout`, "
        "`file:///path/of/audit.log`, or a syslog collector: `syslog://host:514` (UDP), "
        "`syslog+tcp://host:601`, `syslog+tls://host:6514?ca=/path&cert=/path&key=/path`",
    ),
    _one(
        "ISTHMUS_AUDIT_PATIENTS",
        "",
        "`on`: audit events hold Patient IDs; `off`: they hold UIDs only. Names are never told",
        default="`on`",
    ),
    _one(
        "ISTHMUS_AUDIT_JOIN_S",
        "audit.join_s",
        "events about single instances, frames and pictures of one study that are alike become one within "
        "this time, with their number; 0: each stands for itself",
        unit="seconds",
    ),
)

SECTIONS: Sequence[tuple[str, Sequence[Row]]] = (
    ("What is kept, and where", STORAGE),
    ("HTTP", HTTP),
    ("Sign-in", ACCESS),
    ("The page", PAGE),
    ("Limits", LIMITS),
    ("Pictures and transcoding", PIXELS),
    ("Audit", WATCHING),
    ("The bridge", BRIDGE),
    ("A PACS behind DICOMweb", PACS),
    ("Worklist and performed procedure steps", PROCEDURES),
)
ROWS = tuple(row for _, rows in SECTIONS for row in rows)

_HEAD = """
# Settings

All from the environment, read once at start. A value that cannot be used ends the program with a message
that names its variable. Sizes are bytes or have a unit (`32MiB`), times are seconds. This file is written
by `python -m openapi.settings`, from the table in `openapi/settings.py`.
"""
_FOOT = """
An instance that is sent again with the same content is always a success and is stored once. Content is the
same if transfer syntax and data set are, byte for byte; preamble and file meta information do not count.

## Deadlines

What waits for what, each longer than the one before, so that whoever is nearest to the fault tells it:

| Deadline | Seconds |
|---|---|
| a PDU of a peer, from its first byte to its last | {pdu} |
| the body of a store request, for its next KiB | {stall} |
| the bridge, for the archive's answer | {answer} |
"""


def written() -> str:
    """The text of docs/settings.md."""
    service, bridge = Settings.from_environment({}), read_settings({})
    blocks = [_HEAD.strip()]
    for title, rows in SECTIONS:
        lines = ["| Setting | Default | Unit | What it says |", "|---|---|---|---|"]
        lines += [f"| {_names(row)} | {default_of(row)} | {row.unit} | {row.meaning} |" for row in rows]
        blocks += [f"## {title}", "\n".join(lines)]
    deadlines = {
        "pdu": f"{bridge.limits.pdu_s:g}",
        "stall": f"{service.body_stall_s:g}",
        "answer": f"{bridge.archive.answer_s:g}",
    }
    return "\n\n".join([*blocks, _FOOT.strip().format(**deadlines)]) + "\n"


def default_of(row: Row) -> str:
    """What the settings of a row are where nobody sets them."""
    return row.default or ", ".join(_shown(_value(field), row.unit) for field in row.fields)


def _value(field: str) -> object:
    """The value of a field where nothing is set."""
    in_bridge = field.startswith("bridge.")
    value: object = read_settings({}) if in_bridge else Settings.from_environment({})
    for name in field.removeprefix("bridge.").split("."):
        value = getattr(value, name)
    return value


def _shown(value: object, unit: str) -> str:
    if value in (None, "", ()):
        return "none"
    if unit == "bytes" and isinstance(value, int):
        return f"`{as_size(value).replace(' ', '')}`"
    if isinstance(value, tuple):
        return f"`{' '.join(map(str, value))}`"
    return f"`{value}`"


def _names(row: Row) -> str:
    return ", ".join(f"`{name}`" for name in row.names)


if __name__ == "__main__":
    DOCUMENT.write_text(written())
