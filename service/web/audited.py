"""Which transactions leave which audit event, and which leave none."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.audit import codes
from service.audit.codes import Code


@dataclass(frozen=True, slots=True)
class Kind:
    """The event of a transaction. `to_client` says whether instances go to or come from it, if they do.

    `types` say of an event more exactly what it is.
    """

    what: Code
    action: str
    to_client: bool | None = None
    types: tuple[Code, ...] = ()


_QUERY = Kind(codes.QUERY, codes.EXECUTE)
_SENT = Kind(codes.INSTANCES_TRANSFERRED, codes.READ, to_client=True)
_TAKEN = Kind(codes.INSTANCES_TRANSFERRED, codes.CREATE, to_client=False)
_SEEN = Kind(codes.INSTANCES_ACCESSED, codes.READ)
_LEVELS = ("Study", "Series", "Instance")

# By the names of web/transactions.py.
EVENTS: Mapping[str, Kind] = {
    "SearchForStudies": _QUERY,
    "SearchForSeries": _QUERY,
    "SearchForInstances": _QUERY,
    "SearchForStudySeries": _QUERY,
    "SearchForStudyInstances": _QUERY,
    "SearchForStudySeriesInstances": _QUERY,
    "StoreInstances": _TAKEN,
    "StoreStudyInstances": _TAKEN,
    **{f"Retrieve{level}": _SENT for level in _LEVELS},
    **{f"Retrieve{level}Bulkdata": _SENT for level in _LEVELS},
    **{f"Retrieve{level}PixelData": _SENT for level in _LEVELS},
    "RetrieveFrames": _SENT,
    "RetrieveAllFrames": _SENT,
    "RetrieveBulkdata": _SENT,
    "RetrieveBulk": _SENT,
    "RetrieveInstanceByURI": _SENT,
    "RetrieveInstanceByURIOfTheRoot": _SENT,
    **{f"Retrieve{level}Metadata": _SEEN for level in _LEVELS},
    **{f"RetrieveRendered{level}": _SEEN for level in (*_LEVELS, "Frames")},
    **{f"Retrieve{level}Thumbnail": _SEEN for level in (*_LEVELS, "Frames")},
    "RetrieveFindings": _SEEN,
    "ShareStudy": Kind(codes.SECURITY_ALERT, codes.CREATE, types=(codes.SECURITY_ATTRIBUTES_CHANGED,)),
    "DeleteStudy": Kind(codes.STUDY_DELETED, codes.DELETE),
    "DeleteSeries": Kind(codes.INSTANCES_ACCESSED, codes.DELETE),
    "DeleteInstance": Kind(codes.INSTANCES_ACCESSED, codes.DELETE),
}

# Of these nothing about patients can be learned: descriptions, the page without its data, health.
SILENT = frozenset(
    ("RetrieveCapabilities", "RetrieveDescription", "RetrieveDescriptionPage", "RetrievePage")
    + ("RetrieveConfiguration", "RetrievePageFile", "Alive", "Ready", "Metrics", "Other")
    + ("RetrieveIdentity",)
)
