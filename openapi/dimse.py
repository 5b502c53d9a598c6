"""The DIMSE side of docs/conformance.md (PS3.2), asked of the bridge itself: what it would accept, and how.

Nothing here is a list of its own that could grow old: each class and transfer syntax is offered to the
services that the listener has, and the table says what they answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydicom._uid_dict import UID_dictionary

from bridge import statuses
from bridge.commitment.reporting import PUSH_MODEL
from bridge.scp.classes import is_storage
from bridge.scp.commitment import Commitment
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.mpps import CLASS_OF, Mpps
from bridge.scp.retrieve import Retrieve
from bridge.scp.service import Service
from bridge.scp.store import Store
from bridge.scp.worklist import ModalityWorklist
from bridge.settings import read_settings
from bridge.upper.associate import APPLICATION_CONTEXT
from bridge.upper.command import Operation
from bridge.upper.negotiation import MOST_CONTEXTS
from openapi.layout import codes, meaning, plain, table
from service.dicom.classes import OF_NO_PATIENT
from service.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.querying import Agreement
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, REFUSED

_SETTINGS = read_settings({})
_CT = "1.2.840.10008.5.1.4.1.1.2"  # one storage class stands for all
_NOBODY: Any = None  # offers are made without asking the archive
SERVICES: Sequence[Service] = (
    Echo(),
    Store(_NOBODY),
    Find(_NOBODY, _SETTINGS),
    Retrieve(_NOBODY, _SETTINGS),
    Commitment(_NOBODY, _SETTINGS.limits),
    ModalityWorklist(_NOBODY, _SETTINGS),
    Mpps(_NOBODY, _SETTINGS),
)

# What is asked of peers: the function of `bridge.scu`, what it is for, and in which classes.
ASKED = (
    ("C-ECHO", "echo", "Verification", "on `POST /peers/NAME/echo` of the bridge's HTTP"),
    (
        "C-STORE",
        "store",
        "any storage class",
        "as sub-operation of a retrieval, and of jobs that store",
    ),
    ("C-FIND", "find", "Patient Root, Study Root", "of a PACS that is presented as DICOMweb"),
    ("C-GET", "get", "Patient Root, Study Root", "of a PACS that has it; instances come in the SCP role"),
    ("C-MOVE", "move", "Patient Root, Study Root", "of a PACS without C-GET, to `ISTHMUS_INBOX_AE_TITLE`"),
    ("N-EVENT-REPORT", "event_report", "Storage Commitment Push Model", "reports, in the SCP role"),
    ("N-CREATE", "create", "Modality Performed Procedure Step", "steps that rules pass on"),
    ("N-SET", "update", "Modality Performed Procedure Step", "steps that rules pass on"),
)
_AGREEMENTS = ("relational", "combined_datetime", "fuzzy", "timezone", "", "empty_values", "multiple_values")
_RETRIEVALS = "C-GET, C-MOVE"
_OF_STEPS = "N-CREATE, N-SET, N-GET"
_FINAL = (
    (statuses.SUCCESS, "any", "done"),
    (statuses.UNRECOGNIZED_OPERATION, "any", "the bridge does not serve this operation"),
    (statuses.PENDING, f"C-FIND, {_RETRIEVALS}", "a match; sub-operations go on"),
    (statuses.PENDING_WARNING, "C-FIND", "a match, though a key was not matched"),
    (statuses.CANCELLED, f"C-FIND, {_RETRIEVALS}", "cancelled by the peer"),
    (statuses.NOT_ALL_WELL, _RETRIEVALS, "some sub-operations had a warning or failed"),
    (statuses.NOT_PERFORMED, _RETRIEVALS, "all sub-operations failed"),
    (statuses.OPTIONAL_UNSUPPORTED, "N-GET", "the step lacks an attribute that was asked for"),
    (statuses.ATTRIBUTE_LIST_ERROR, "N-SET", "an attribute that is settled was left as it is"),
    (statuses.PROCESSING_FAILURE, "N-SET", "the step is over (Error ID A710)"),
)


def classes() -> Mapping[str, str]:
    """The SOP classes that the standard registers, by UID, with their names."""
    return {
        uid: name
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and name and "Trial" not in name
    }


def accepted(abstract: str) -> list[str]:
    """The transfer syntaxes in which the bridge, as SCP, accepts a context of the class; empty for none."""
    offers = (service.offer(abstract, "") for service in SERVICES)
    offer = next((one for one in offers if one is not None), None)
    known = [IMPLICIT_LE, EXPLICIT_LE, *(uid for uid in BY_UID if uid not in (IMPLICIT_LE, EXPLICIT_LE))]
    return [] if offer is None else [uid for uid in known if offer.choose([uid], False) is not None]


def section() -> str:
    """The text of the section."""
    blocks = (_overview(), _associations(), _served(), _storage(), _negotiated(), _asked(), _statuses())
    return "\n\n".join(block.strip() for block in blocks)


def _overview() -> str:
    text = f"""
        ## DIMSE

        The bridge is an application entity beside the service. What it is sent it stores in a DICOMweb
        server (`ISTHMUS_ARCHIVE_URL`, the service by default), where it also finds and retrieves; it keeps
        no instances of its own. Its AE title is `{_SETTINGS.ae_title}` unless `ISTHMUS_AE_TITLE` says
        otherwise; it listens at {_SETTINGS.host}, port {_SETTINGS.port}. Peers are named in a file
        (`ISTHMUS_PEERS`), see [dimse.md](dimse.md#peers).
    """
    return plain(text)


def _associations() -> str:
    limits = _SETTINGS.limits
    rows = [
        ("Application context", f"`{APPLICATION_CONTEXT}`"),
        ("Implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
        ("Implementation version name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ("Maximum PDU length received", f"{limits.pdata_bytes} bytes, less where a peer's `max_pdu` says so"),
        ("Maximum PDU length sent", "the peer's"),
        ("Associations at a time", f"{limits.associations}, of one caller {limits.associations_per_caller}"),
        ("Presentation contexts", f"{MOST_CONTEXTS}; those beyond are not answered"),
        ("Asynchronous operations", "not supported: the window is answered 1, 1"),
        ("SCP/SCU role selection", "accepted as proposed"),
        ("Common extended negotiation", "the service class of a class that is not known is believed"),
        ("User identity", "not used; a positive response is given where one is asked for"),
        ("Called AE title", "any" if not _SETTINGS.check_called_ae else "its own"),
        ("Calling AE title", "any; what strangers may ask for is in [dimse.md](dimse.md#peers)"),
        (
            "TLS",
            "as provider on a port of its own (2762), and toward peers with `tls = true`: TLS 1.2 and 1.3 "
            "by the BCP 195 profile (PS3.15 B), certificates of callers verified; optionally with the "
            "suites of the retired Non-downgrading profile; see [dimse.md](dimse.md#tls)",
        ),
    ]
    return "### Association policies\n\n" + table(("What", "How"), rows)


def _served() -> str:
    rows = [
        (name, f"`{uid}`", _operations(uid), codes(accepted(uid)))
        for uid, name in classes().items()
        if not is_storage(uid) and accepted(uid)
    ]
    text = """
        The bridge is SCP of these classes, and of those of storage below. Where several transfer syntaxes
        are proposed for a query or retrieval, the first of Explicit VR Little Endian, Implicit VR Little
        Endian and what else is listed is taken.
    """
    header = ("SOP class", "UID", "Operations", "Transfer syntaxes")
    return "### SOP classes as SCP\n\n" + plain(text) + "\n\n" + table(header, rows)


def _operations(abstract: str) -> str:
    offering = next(service for service in SERVICES if service.offer(abstract, "") is not None)
    served = [code for code in sorted(offering.operations) if CLASS_OF.get(code, abstract) == abstract]
    names = [Operation(code).name.replace("_", "-") for code in served]
    if abstract == PUSH_MODEL:
        names.append("N-EVENT-REPORT")
    called = [name for name in names if name != _other_of_two(abstract)]
    return ", ".join(called)


def _other_of_two(abstract: str) -> str:
    """Of C-GET and C-MOVE, which one service answers, the one that the class is not of."""
    name = classes()[abstract]
    return "C-MOVE" if name.endswith("GET") else "C-GET" if name.endswith("MOVE") else ""


def _storage() -> str:
    stored = [
        (name, f"`{uid}`")
        for uid, name in classes().items()
        if is_storage(uid) and accepted(uid) and uid not in OF_NO_PATIENT
    ]
    syntaxes = accepted(_CT)
    text = f"""
        Every storage class is accepted, private ones and those of later editions too, in each of the
        {len(syntaxes)} transfer syntaxes below, whose names are under [Retrieve](#retrieve): the first in
        the requestor's order, {BY_UID[IMPLICIT_LE].name} and
        {BY_UID[EXPLICIT_BE].name} only where nothing else is proposed. `ISTHMUS_ACCEPT_SYNTAXES`, and
        `accept_syntaxes` of a peer, shorten the list. Not accepted: {codes(sorted(REFUSED))}. Instances are
        kept byte for byte (level 2, full), and no attribute is coerced. A C-STORE is answered when the
        archive has the instance on disk. Classes that belong to no patient are accepted too, and refused by
        the service (0122).
    """
    return "\n\n".join(
        (
            "### Storage as SCP",
            plain(text),
            plain(f"{codes(syntaxes)}."),
            "The standard's storage classes:",
            table(("SOP class", "UID"), stored),
        )
    )


def _negotiated() -> str:
    everything = bytes([1] * len(_AGREEMENTS))
    find = next(service for service in SERVICES if isinstance(service, Find))
    retrieve = next(service for service in SERVICES if isinstance(service, Retrieve))
    worklist = next(service for service in SERVICES if isinstance(service, ModalityWorklist))
    rows = []
    for uid, name in classes().items():
        for service in (find, retrieve, worklist):
            offer = service.offer(uid, "")
            if offer is not None:
                agreed = offer.extended(everything) or b""
                if service is worklist:  # the first two are reserved, and answered as offered (PS3.4 K.5)
                    agreed = b"\0\0" + agreed[2:]
                rows.append((name, ", ".join(_agreed(agreed))))
    text = """
        What is agreed to where a peer offers it (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1); nothing is agreed to that
        was not offered.
    """
    return "### Extended negotiation\n\n" + plain(text) + "\n\n" + table(("SOP class", "Agreed to"), rows)


def _agreed(answer: bytes) -> list[str]:
    names = {
        "relational": "relational",
        "combined_datetime": "combined date and time",
        "fuzzy": "fuzzy matching of names",
        "timezone": "time zone",
        "empty_values": "empty values",
        "multiple_values": "multiple values",
    }
    agreement = Agreement.of(answer)
    return [told for name, told in names.items() if getattr(agreement, name)]


def _asked() -> str:
    text = """
        Transfer syntaxes that are proposed for storage are those in which the instances can be had without
        loss, the stored one first, each in a context of its own, and Explicit and Implicit VR Little Endian
        together in another. Everything else is proposed in Explicit and Implicit VR Little Endian.
    """
    rows = [(operation, what, when) for operation, _, what, when in ASKED]
    return "### As SCU\n\n" + plain(text) + "\n\n" + table(("Operation", "Classes", "When"), rows)


def _statuses() -> str:
    tables = (
        ("C-STORE", statuses.STORE_STATUS),
        ("C-FIND", statuses.FIND_STATUS),
        (f"{_RETRIEVALS} before the first sub-operation", statuses.RETRIEVE_STATUS),
        (_OF_STEPS, statuses.STEP_STATUS),
    )
    rows = [(f"{code:04X}", of, what) for code, of, what in _FINAL]
    for operation, mapped in tables:
        by_code: dict[int, list[str]] = {}
        for kind, code in mapped.items():
            by_code.setdefault(code, []).append("anything else" if kind is BaseException else meaning(kind))
        rows += [(f"{code:04X}", operation, _joined(meanings)) for code, meanings in sorted(by_code.items())]
    text = """
        A failure reason that the archive gives for an instance is the status of its C-STORE. What a peer may
        not ask for is answered 0124. Those of storage commitment are in
        [dimse.md](dimse.md#storage-commitment).
    """
    return "### Status codes\n\n" + plain(text) + "\n\n" + table(("Status", "Of", "Meaning"), rows)


def _joined(meanings: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(meanings))
