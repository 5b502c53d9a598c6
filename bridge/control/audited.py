"""Which requests to the bridge's HTTP leave which audit event, and which leave none.

What a job, the spool or a rule sends or fetches is told when it was done; this is who asked for it.
"""

from collections.abc import Mapping

from service.audit import codes
from service.web.audited import Kind

_BEGUN = Kind(codes.BEGIN_TRANSFERRING, codes.EXECUTE)
_LISTED = Kind(codes.QUERY, codes.EXECUTE)

AUDITED: Mapping[tuple[str, str], str] = {
    ("POST", "/peers/{name}/store"): "StoreJob",
    ("POST", "/peers/{name}/retrieve"): "RetrieveJob",
    ("GET", "/quarantine/{id}"): "ExportQuarantined",
    ("POST", "/quarantine/{id}/retry"): "RetryQuarantined",
    ("DELETE", "/quarantine/{id}"): "DeleteQuarantined",
    ("GET", "/worklist"): "ListWorklist",
    ("PUT", "/worklist"): "ReplaceWorklist",
    ("GET", "/worklist/{id}"): "RetrieveWorklistItem",
    ("PUT", "/worklist/{id}"): "PutWorklistItem",
    ("DELETE", "/worklist/{id}"): "DeleteWorklistItem",
    ("GET", "/mpps"): "ListPerformedSteps",
    ("GET", "/mpps/{uid}"): "RetrievePerformedStep",
    ("POST", "/mpps/{uid}/forward"): "ForwardPerformedStep",
}
KINDS: Mapping[str, Kind] = {
    "StoreJob": _BEGUN,
    "RetrieveJob": _BEGUN,
    "ExportQuarantined": Kind(codes.INSTANCES_TRANSFERRED, codes.READ, to_client=True),
    "RetryQuarantined": _BEGUN,
    "DeleteQuarantined": Kind(codes.INSTANCES_ACCESSED, codes.DELETE),
    "ListWorklist": _LISTED,
    "ReplaceWorklist": Kind(codes.ORDER_RECORD, codes.UPDATE),
    "RetrieveWorklistItem": Kind(codes.ORDER_RECORD, codes.READ),
    "PutWorklistItem": Kind(codes.ORDER_RECORD, codes.UPDATE),
    "DeleteWorklistItem": Kind(codes.ORDER_RECORD, codes.DELETE),
    "ListPerformedSteps": _LISTED,
    "RetrievePerformedStep": Kind(codes.PROCEDURE_RECORD, codes.READ),
    "ForwardPerformedStep": Kind(codes.PROCEDURE_RECORD, codes.EXECUTE),
}

# Of these nothing about patients can be learned: they tell of peers, queues and UIDs, and of the bridge.
SILENT = frozenset(
    (
        ("GET", "/peers"),
        ("POST", "/peers/{name}/echo"),
        ("GET", "/jobs"),
        ("GET", "/jobs/{id}"),
        ("DELETE", "/jobs/{id}"),
        ("GET", "/spool"),
        ("GET", "/quarantine"),
        ("GET", "/forwarding"),
        ("GET", "/forwarding/failed"),
        ("DELETE", "/forwarding/failed"),
        ("POST", "/forwarding/failed/retry"),
        ("GET", "/forwarding/failed/{id}"),
        ("DELETE", "/forwarding/failed/{id}"),
        ("POST", "/forwarding/failed/{id}/retry"),
        ("GET", "/openapi.json"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    )
)
