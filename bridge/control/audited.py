"""Which requests to the bridge's HTTP leave which audit event; the others tell nothing of patients.

What a job sends or fetches is told when it was done; this is who asked for it.
"""

from collections.abc import Mapping

from service.audit import codes
from service.web.audited import Kind

_BEGUN = Kind(codes.BEGIN_TRANSFERRING, codes.EXECUTE)

AUDITED: Mapping[tuple[str, str], str] = {
    ("POST", "/peers/{name}/store"): "StoreJob",
    ("POST", "/peers/{name}/retrieve"): "RetrieveJob",
    ("DELETE", "/quarantine/{id}"): "DeleteQuarantined",
}
KINDS: Mapping[str, Kind] = {
    "StoreJob": _BEGUN,
    "RetrieveJob": _BEGUN,
    "DeleteQuarantined": Kind(codes.INSTANCES_ACCESSED, codes.DELETE),
}
