"""`python -m openapi.conformance`: write docs/conformance.md from the tables that the programs work by.

What PS3.18 has origin servers declare (8.7.3.5.2, 8.11, 10.4.5, 10.5.5, 10.6.5) and PS3.2 lays out.
"""

from pathlib import Path

from openapi import dimse
from openapi.layout import codes, meaning, plain, table
from service.archive.reasons import COERCED, DISCARDED, FAILURE_REASON, MISMATCHED
from service.dicom.attributes import ATTRIBUTES, REQUEST_PATHS, Attribute, Returned, attribute_name
from service.dicom.classes import OF_NO_PATIENT
from service.dicom.resource import Level
from service.dicom.syntaxes import OCTETS, REFUSED, SYNTAXES, available
from service.settings import Settings
from service.web.problems import HTTP_STATUS
from service.web.renderable import PICTURES
from service.web.transactions import DESCRIBED, JSON, WADL, Transaction

STATEMENT = Path(__file__).resolve().parents[1] / "docs/conformance.md"
CAPABILITIES = Transaction(
    "RetrieveCapabilities", (WADL, JSON), successes=(200, 304), failures=(400, 406, 412)
)
# Every method below the DICOMweb root, the one that describes the others included.
METHODS = {("OPTIONS", "/"): CAPABILITIES, **DESCRIBED}

# The query parameters that PS3.18 names for these services, 8.3 and 9.1 to 9.5.
STANDARD_PARAMETERS = frozenset(
    (
        *("accept", "charset", "includefield", "limit", "offset"),
        *("fuzzymatching", "emptyvaluematching", "multiplevaluematching"),
        *("annotation", "quality", "viewport", "window", "iccprofile"),
        *("requestType", "studyUID", "seriesUID", "objectUID", "contentType", "transferSyntax", "anonymize"),
        *("imageAnnotation", "rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber"),
        *("imageQuality", "presentationUID", "presentationSeriesUID"),
    )
)
# What each service of PS3.18 is known by: a piece of the paths that it has.
SERVICES = (
    ("Capabilities", "8.9", ("OPTIONS", "/")),
    ("URI service", "9", ("GET", "/wado")),
    ("Studies: Retrieve", "10.4", ("GET", "/metadata")),
    ("Studies: Retrieve, rendered", "10.4.1.1.3", ("GET", "/rendered")),
    ("Studies: Retrieve, thumbnails", "10.4.1.1.4", ("GET", "/thumbnail")),
    ("Studies: Retrieve, rendered volumes", "10.4.1.1.8", ("GET", "/rendered3d")),
    ("Studies: Store", "10.5", ("POST", "/studies")),
    ("Studies: Search", "10.6", ("GET", "/studies")),
    ("Worklist", "11", ("GET", "/workitems")),
    ("Notifications over WebSocket", "8.10", ("GET", "/ws/subscribers")),
    ("Non-patient instances", "12", ("GET", "/color-palettes")),
    ("Storage commitment", "13", ("POST", "/commitment-requests")),
)
LEVELS = (("Study", Level.STUDY), ("Series", Level.SERIES), ("Instance", Level.INSTANCE))
# PS3.3 C.12.1.1.2: the defined terms that text is read in, and their names by IANA.
CHARACTER_SETS = (
    *(("ISO_IR 6", "US-ASCII"), ("ISO_IR 100", "ISO-8859-1"), ("ISO_IR 101", "ISO-8859-2")),
    *(("ISO_IR 109", "ISO-8859-3"), ("ISO_IR 110", "ISO-8859-4"), ("ISO_IR 144", "ISO-8859-5")),
    *(("ISO_IR 127", "ISO-8859-6"), ("ISO_IR 126", "ISO-8859-7"), ("ISO_IR 138", "ISO-8859-8")),
    *(("ISO_IR 148", "ISO-8859-9"), ("ISO_IR 203", "ISO-8859-15"), ("ISO_IR 166", "TIS-620")),
    *(("ISO_IR 13", "JIS X 0201"), ("ISO 2022 IR 87", "ISO-2022-JP"), ("ISO 2022 IR 159", "ISO-2022-JP-2")),
    *(("ISO 2022 IR 149", "ISO-2022-KR"), ("ISO 2022 IR 58", "ISO-2022-CN"), ("ISO_IR 192", "UTF-8")),
    *(("GB18030", "GB18030"), ("GBK", "GBK")),
)

_TITLE = """
# DICOM conformance statement

What Isthmus does of DICOMweb (PS3.18) and of DIMSE (PS3.4, PS3.7, PS3.8), as PS3.2 wants it declared.
`python -m openapi.conformance` writes this file from the tables that the programs work by, the same that
the Capabilities Description is made of; a test compares both. Section numbers are those of PS3.18 2024e
unless they name another part.

Two programs make up the product. The service is an origin server of DICOMweb with an archive of its own;
the [bridge](#dimse) is a DIMSE application entity that stores, finds and retrieves in it, or in any other
DICOMweb server. Media interchange is not offered.
"""
_NETWORK = """
## Network and HTTP

- HTTP/1.1, with persistent connections, `100-continue`, chunked bodies in both directions, and `HEAD` as
  `GET` without a body. HTTPS (TLS 1.2 and 1.3) with a certificate in `ISTHMUS_TLS_CERT`. HTTP/2 is for a
  proxy in front; offers of other protocols (`Upgrade`) are ignored. A request's head may have 64 KiB: a
  longer one is answered 414 where it is the URI, else 431.
- The base URI is `ISTHMUS_PUBLIC_URL`, or follows `Host` and, from trusted proxies, `Forwarded` and
  `X-Forwarded-*`.
- Request header fields: `Accept`, `Accept-Charset`, `Accept-Encoding`, `If-None-Match`, `If-Match`,
  `If-Range`, `Range`, `Content-Type`, `Content-Encoding` (gzip), `Content-Length`, `Origin`.
- Response header fields: `Content-Type`, `Content-Length`, `Content-Location`, `Content-Encoding` (gzip,
  zstd; text only), `Content-Range`, `Accept-Ranges`, `ETag`, `Vary`, `Cache-Control`, `Warning`,
  `Location`, `Retry-After`, `Allow`, `X-Total-Count`, and those of CORS for the origins in `ISTHMUS_CORS`.
- Media types are agreed on by quality and by the most specific range, ties by what needs no work. No
  `Accept` is `*/*`. The `accept` parameter comes before the header; objects and pictures in one `accept`
  parameter are answered 400.
- Errors are problem documents (RFC 9457) in JSON, or pages of HTML where those are preferred. 406 lists
  what is available.
- `Warning` is `299 {host} "{text}"`.
"""
_MATCHING = """
### How keys match

- Single values: text by its exact characters, dates, times and numbers by their meaning; spaces at the end
  do not count.
- Wildcards `*` and `?` in AE, CS, LO, LT, PN, SH, ST, UC, UR, UT. In other VRs `*` alone matches
  everything, and with more around it is answered 400.
- Ranges of DA, TM and DT. Ranges of a date and of its time together are one interval.
- Person names without regard to case and accents, each component group for itself; a key without `=` is
  tried against every group.
- Several values of UI mean any of them; of CS, SH, LO and the like any of them too, or every one with
  `multiplevaluematching=true`.
- `fuzzymatching=true`: each word of the key begins a word of the name, in any order, without regard to case
  and accents.
- `emptyvaluematching=true`: the value `""` matches what is absent or empty.
- Keys of a sequence must be satisfied by one item of it.
- Modalities in Study and the numbers of related instances are computed from the instances that are kept.
"""
_CHARACTERS = """
## Character sets

JSON, XML and HTML leave in UTF-8; `charset` and `Accept-Charset` that ask for others are ignored, and those
that rule UTF-8 out are answered 406. Objects leave in the character set that they were stored in. Query
values are UTF-8. Text is read in these sets, with code extensions where DICOM has them:
"""
_SECURITY = """
## Security

`ISTHMUS_AUTH` has people sign in with a name and a password (RFC 7617) or with a bearer token (RFC 6750), a
JWT of an OpenID provider; searches, retrievals and deletion may be confined to studies or patients by its
claims. Without sign-in the service listens beyond loopback only with `ISTHMUS_AUTH=none!`, for use behind a
proxy that authenticates. Patients' names and identifiers go to no log, no
URL that the service makes and no error. A BulkDataURI in a stored data set is looked for in its request
only and never fetched. Pages of other origins are allowed by `ISTHMUS_CORS`. Where nobody signs in, requests
whose `Host` is a name that is not this machine's are refused (403).
"""


def written() -> str:
    """The text of the conformance statement."""
    sections = (
        _TITLE,
        _services(),
        _NETWORK,
        _transactions(),
        _search(),
        _retrieve(),
        _store(),
        _statuses(),
        _CHARACTERS.strip() + "\n\n" + table(("Specific Character Set", "IANA"), CHARACTER_SETS),
        dimse.section(),
        _SECURITY,
        _extensions(),
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def offered(method: str, piece: str) -> bool:
    """Whether a method is offered of a resource whose path has, or ends in, `piece`."""
    return any(one == method and (path == piece or path.endswith(piece)) for one, path in METHODS)


def _services() -> str:
    rows = [
        (name, section, "origin server" if offered(*known_by) else "not offered")
        for name, section, known_by in SERVICES
    ]
    text = """
        ## Roles

        Isthmus is an origin server with an archive of its own; it is no proxy for another one, and no user
        agent.
    """
    return plain(text) + "\n\n" + table(("Service", "Section", "Role"), rows)


def _transactions() -> str:
    text = """
        ## Transactions

        Paths are below the base URI. Searches also take attributes as keys, see [Search](#search).
    """
    blocks = [_transaction(method, path, one) for (method, path), one in METHODS.items()]
    return "\n\n".join((plain(text), *blocks))


def _transaction(method: str, path: str, one: Transaction) -> str:
    fields = ((304, "If-None-Match"), (304, "If-Match"), (206, "Range"))
    headers = [name for status, name in fields if status in one.successes]
    rows = [
        ("Query parameters", codes(own_parameters(one))),
        ("Conditional header fields", codes(headers)),
        ("Takes", codes(one.takes)),
        ("Gives", codes(one.gives)),
        ("Success", ", ".join(map(str, one.successes))),
        ("Failure", ", ".join(map(str, one.failures))),
    ]
    told = [row for row in rows if row[1]]
    return f"### {one.identity}\n\n" + table((f"`{method} {path}`", ""), told)


def own_parameters(one: Transaction) -> list[str]:
    """The query parameters of a transaction but the attributes that a search takes as keys."""
    attributes = set(match_names(Level.INSTANCE)) if one.identity.startswith("SearchFor") else set()
    return [parameter.name for parameter in one.parameters if parameter.name not in attributes]


def match_names(level: Level) -> list[str]:
    """The attributes of `level` and those above that are matched, by keyword."""
    rows = [attribute_name(row.path) for row in ATTRIBUTES if row.level <= level and row.column]
    return rows + [attribute_name(path) for path in REQUEST_PATHS if level >= Level.SERIES]


def _search() -> str:
    most = Settings().max_results
    text = f"""
        ## Search

        A page has {most} matches at most (`ISTHMUS_MAX_RESULTS`), fewer where they are long; a `Warning`
        says how many more there are. The order is the same on every page: studies by date and time, the
        last first, series and instances by number, then by UID, unless `orderby` says otherwise. Attributes
        of the levels above are matched and returned too; `includefield` asks for more, `all` for every
        attribute that is kept at the level. An attribute that the tables do not have is looked for in the
        objects themselves.
    """
    tables = [_level(name, level) for name, level in LEVELS]
    return "\n\n".join((plain(text), *tables, _MATCHING.strip()))


def _level(name: str, level: Level) -> str:
    rows = [_attribute(row) for row in ATTRIBUTES if row.level is level]
    if level is Level.SERIES:
        rows += [(f"`{attribute_name(path)}`", "", "", "yes", "with its sequence") for path in REQUEST_PATHS]
    return f"### {name} attributes\n\n" + table(("Attribute", "Tag", "VR", "Key", "Returned"), rows)


def _attribute(row: Attribute) -> tuple[str, ...]:
    returned = {
        Returned.ALWAYS: "always",
        Returned.IF_PRESENT: "if present",
        Returned.ON_REQUEST: "on request",
    }[row.returned]
    key = "yes" if row.column else "no"
    return f"`{attribute_name(row.path)}`", f"{row.tag:08X}", row.vr, key, returned


def _retrieve() -> str:
    text = """
        ## Retrieve

        Any composite instance that is kept can be retrieved. Objects leave as they were stored, byte for
        byte, unless their transfer syntax must not leave. The parameter `transfer-syntax` takes one UID a
        media range, `*` for the stored one; a range with two is read as the first, else the second. A UID
        that cannot be produced is passed over. Attributes of metadata are described in
        [json-model.md](json-model.md).

        Frames, pixel data and whole instances are also made into other transfer syntaxes: whatever is decoded
        here into Explicit VR Little Endian, RLE, JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K and JPEG XL, each
        without loss, as far as the syntax takes such samples; Available Transfer Syntax UID (0008,3002) names
        them for each instance. Near-lossless JPEG-LS, lossy JPEG 2000, HTJ2K and JPEG XL, and JPEG baseline
        of 8 bits are made where they are named, and never of what is lossy already; an instance made so is a
        derived image with a SOP Instance UID of its own, the same each time.
    """
    rows = [
        (row.name, f"`{row.uid}`", f"`{row.media_type or OCTETS}`", "yes" if row.is_default else "",
         ", ".join(f"`{uid}`" for uid in available(row.uid)))
        for row in SYNTAXES
    ]  # fmt: skip
    header = (
        "Stored transfer syntax",
        "UID",
        "Type of a frame",
        "Meant by the type alone",
        "Objects leave untouched in",
    )
    rendered = "\n\n" + _rendered() if offered("GET", "/rendered") else ""
    return plain(text) + "\n\n" + table(header, rows) + rendered


def _rendered() -> str:
    text = f"""
        Images of every SOP class with pixel data are rendered whose frames can be decoded: native and
        encapsulated uncompressed ones, RLE, JPEG (`.50`, `.51`, `.53`, `.55`, `.57`, `.70`), JPEG-LS, JPEG
        2000, HTJ2K, JPEG XL and Deflated Image Frame. Grey ones go through Modality LUT, VOI and
        Presentation LUT (PS3.3 C.11): the window that is asked for, else the first of the image, else its
        first VOI LUT, else all values; frames of one animation share a range. Windows of floating point
        images count as LINEAR_EXACT. Segments are white on black. Structured reports are rendered as text,
        encapsulated documents leave in their own type, videos as their stream; other instances are answered
        406. Presentation states (greyscale, colour, pseudo-colour) are applied to the images that they
        refer to, as far as these are kept in the same study: subtraction of masks (AVG_SUB and TID, behind
        the state's Modality LUT; frames without a counterpart as they are) and overlays in unused bits of
        the pixels included. A mask that is shifted, linear X-ray intensities without a Modality LUT, a
        colour state for an image with a supplemental palette, and states of other classes (blending, XA/XRF,
        MPR, volumes) are answered 406.

        Media types of pictures: {codes(PICTURES)}. Of several frames an image type shows the first, GIF
        all of them, and a multipart has a part for each. A study or a series alone is shown by one image,
        the middle one of the first series with images; in a multipart by everything that can be shown as
        asked. Without `viewport` images are not scaled. `annotation` knows `patient` and `technique`.
        `iccprofile` goes along in `image/jpeg` and `image/png`; without it colour leaves with the profile
        that it has. Conversions are relative colorimetric, by the AToB1 or AToB0 table of a profile that
        has any, else by its primaries and curves.

        Thumbnails fit into 200 × 200 pixels unless `viewport` says otherwise, show the middle frame of the
        middle image, and never have anything written into them. What is no image has an icon.
    """
    return "### Rendered\n\n" + plain(text)


def _store() -> str:
    classes = ", ".join(OF_NO_PATIENT.values())
    refused = ", ".join(f"`{uid}`" for uid in sorted(REFUSED))
    text = f"""
        ## Store

        Instances of every SOP class are stored, private ones too, except those that belong to no study:
        {classes}. Every transfer syntax of the table under [Retrieve](#retrieve) is stored; not stored are
        {refused} and unknown ones. Study, Series and SOP Instance UID and the SOP class must be there;
        other attributes are stored as they are. No attribute is coerced. An instance that an answer lists
        as stored is on disk and in the index. The same content again is a success and is stored once; other
        content under the same UIDs is refused, dropped with a warning, or takes the place of the first, by
        `ISTHMUS_ON_DUPLICATE`.
    """
    warnings = ((COERCED, "coerced"), (DISCARDED, "other content under the same UIDs was dropped"),
                (MISMATCHED, "the data set does not match its SOP class"))  # fmt: skip
    rows = [(f"{code:04X}", "warning", what) for code, what in warnings if code != COERCED]
    rows += [(f"{code:04X}", "failure", what) for code, what in sorted(_failures().items())]
    return plain(text) + "\n\n" + table(("Reason", "", "Meaning"), rows)


def _failures() -> dict[int, str]:
    meanings: dict[int, list[str]] = {}
    for kind, code in FAILURE_REASON.items():
        meanings.setdefault(code, []).append(meaning(kind))
    return {code: "; ".join(some) for code, some in meanings.items()}


def _statuses() -> str:
    by_status: dict[int, list[str]] = {405: ["the resource does not offer that method (`Allow` says which)"]}
    for kind, status in HTTP_STATUS.items():
        if status != 409:
            by_status.setdefault(status, []).append(meaning(kind))
    rows = [(str(status), "; ".join(meanings)) for status, meanings in sorted(by_status.items())]
    text = """
        ## Statuses of failures

        503 comes with `Retry-After`. Of a Store request, 409 comes with the reason for each instance.
    """
    return plain(text) + "\n\n" + table(("Status", "Meaning"), rows)


def extra_parameters() -> list[str]:
    """The query parameters that are offered and that PS3.18 does not have."""
    named = {name for one in METHODS.values() for name in own_parameters(one)}
    return sorted(named - STANDARD_PARAMETERS)


def metadata_take_fields() -> bool:
    """Whether a retrieve of metadata may name the attributes that it wants."""
    return "includefield" in own_parameters(DESCRIBED["GET", "/studies/{study}/metadata"])


def _extensions() -> str:
    extra = codes(extra_parameters()) or "none"
    vendor = [
        f"- `{method} {path}` ({one.identity})"
        for (method, path), one in METHODS.items()
        if method == "DELETE" or one.identity in ("RetrieveFindings", "RetrieveBulk", "RetrieveAllFrames")
    ]
    fields = "; metadata take `includefield`, too" if metadata_take_fields() else ""
    text = f"""
        ## Extensions

        Query parameters that PS3.18 does not have: {extra}; `includeField` is read as `includefield`{fields}.
        The URI service takes `transferSyntax=*`, does without `studyUID` and `seriesUID`, and is also found
        on the base URI itself and at `/wado` of the server. Deletions are not remembered: what was deleted is
        404. These methods are not in PS3.18:
    """
    return plain(text) + "\n\n" + "\n".join(vendor)


if __name__ == "__main__":
    STATEMENT.write_text(written())
