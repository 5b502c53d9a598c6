"""Which of the services that a peer may be allowed (`bridge.peers.SERVICES`) a request belongs to."""

from collections.abc import Mapping

from bridge.upper.command import Operation

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"

_SERVICES: Mapping[int, str] = {
    Operation.C_ECHO: "echo",
    Operation.C_STORE: "store",
    Operation.C_FIND: "find",
    Operation.C_MOVE: "move",
    Operation.C_GET: "get",
    Operation.N_ACTION: "commitment",
    Operation.N_EVENT_REPORT: "commitment",
    Operation.N_CREATE: "mpps",
    Operation.N_SET: "mpps",
    Operation.N_GET: "mpps",
}


def service_of(operation: int, abstract: str) -> str | None:
    """The service of a request with this Command Field and class; `None` if it belongs to none."""
    if operation == Operation.C_FIND and abstract == MODALITY_WORKLIST:
        return "worklist"
    return _SERVICES.get(operation)


def comment(service: str) -> str:
    """What a caller reads that may not use `service`: at most 64 characters (PS3.7 C.4)."""
    return f"{service} is not allowed to this caller, see ISTHMUS_PEERS"
