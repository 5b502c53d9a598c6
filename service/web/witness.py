"""The witness: every transaction leaves one audit event, or is refused because it could leave none."""

from collections.abc import Mapping
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.identity import identity_of
from service.audit import codes
from service.audit.codes import Code
from service.audit.event import Counts, Event, Participant, Search
from service.audit.trail import Trail
from service.dicom.resource import is_uid
from service.settings import Network
from service.web import searched
from service.web.audited import EVENTS, Kind
from service.web.journal import request_id
from service.web.limits import ALWAYS
from service.web.metrics import OTHER
from service.web.noted import Notes, begin_notes
from service.web.problems import problem
from service.web.proxies import client_of

PROGRAM = "isthmus"
_BUSY = "The audit trail cannot be written, so that nothing may be done; try again shortly (ISTHMUS_AUDIT)."
_RETRY_AFTER = {"Retry-After": "5"}
_CUT = "The answer was cut short."
_URI_STUDY, _URI_INSTANCE = "studyUID", "objectUID"


class Witness:
    """Wraps an application, inside of what answers for other origins and outside of what signs in."""

    def __init__(
        self,
        app: ASGIApp,
        trail: Trail,
        transactions: Mapping[tuple[str, str], str],
        *,
        trusted: tuple[Network, ...],
        kinds: Mapping[str, Kind] = EVENTS,
        program: str = PROGRAM,
    ) -> None:
        """`transactions` names what is done by method and route, and `kinds` the event of each.

        `trusted` proxies are believed who their client is; `program` is what this one is called.
        """
        self._app = app
        self._trail = trail
        self._transactions = transactions
        self._trusted = trusted
        self._kinds = kinds
        self._program = program

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") in ALWAYS:
            await self._app(scope, receive, send)
            return
        if not self._trail.reserve():
            await problem(503, _BUSY, _RETRY_AFTER)(scope, receive, send)
            return
        notes = begin_notes(scope)
        seen = _Seen()

        async def watching(message: Message) -> None:
            seen.look(message)
            await send(message)

        event: Event | None = None
        try:
            await self._app(scope, receive, watching)
        finally:
            try:
                event = self._event(scope, notes, seen)
            finally:
                if event is None:
                    self._trail.release()
                else:
                    self._trail.put(event)

    def _event(self, scope: Scope, notes: Notes, seen: "_Seen") -> Event | None:
        """What there is to tell; `None` of what tells nobody anything."""
        method, route = scope["method"], scope.get("route_name", "")
        transaction = self._transactions.get((method, route), OTHER)
        kind = self._kinds.get(transaction)
        refusal = _REFUSALS.get(seen.status)
        if kind is None and refusal is None:
            return None
        event = Event(
            kind.what if kind else codes.SECURITY_ALERT,
            kind.action if kind else codes.EXECUTE,
            self._participants(scope, kind),
            types=kind.types if kind else (),
            outcome=seen.outcome,
            outcome_text=seen.text,
            place=route or "-",
            details={"Transaction": transaction, "Status": str(seen.status or "none"), **notes.details},
            request=request_id(scope),
        )
        if refusal is not None:  # nothing was found out, and who they say they are is not known to be true
            what, of_kind = refusal
            return replace(event, what=what, types=(of_kind,), action=codes.EXECUTE, joins=True)
        studies = _studies(scope, notes)
        if kind is not None and kind.what is codes.QUERY:
            asked = searched.keys(scope["query_string"])
            event = replace(event, search=Search(asked.text), patients=asked.patients)
        else:
            event = replace(event, patients=notes.patients if seen.found else (), lookup=seen.found)
        return replace(event, studies=studies, joins=_is_small(scope, studies))

    def _participants(self, scope: Scope, kind: Kind | None) -> tuple[Participant, ...]:
        theirs: tuple[Code, ...] = (codes.SOURCE,)
        ours: tuple[Code, ...] = (codes.DESTINATION,)
        if kind is not None and kind.to_client:
            theirs, ours = ours, theirs
        if kind is None or (kind.to_client is None and kind.what is not codes.QUERY):
            theirs, ours = (), (codes.APPLICATION,)
        peer = scope.get("client")
        address = client_of(peer[0] if peer else None, Headers(scope=scope), self._trusted)
        host = (scope.get("server") or ("", None))[0]
        return (
            Participant(identity_of(scope).name, theirs, requestor=True, address=address),
            Participant(self._program, ours, address=host),
        )


# Of requests that are refused by these statuses, whatever they were (PS3.15 A.5.3.11, A.5.3.12).
_REFUSALS: Mapping[int, tuple[Code, Code]] = {
    401: (codes.USER_AUTHENTICATION, codes.LOGIN),
    403: (codes.SECURITY_ALERT, codes.RESTRICTED_FUNCTION),
}


class _Seen:
    """What the client was answered."""

    __slots__ = ("partial", "status", "whole")

    def __init__(self) -> None:
        self.status = 0
        self.whole = False
        self.partial = False

    def look(self, message: Message) -> None:
        """Note what goes out."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            ranged = any(name.lower() == b"content-range" for name, _ in message["headers"])
            self.partial = self.status == 202 or (self.status == 206 and not ranged)
        else:
            self.whole = not message.get("more_body", False)

    @property
    def found(self) -> bool:
        """Whether what was asked for was there."""
        return 200 <= self.status < 400

    @property
    def outcome(self) -> int:
        if self.status >= 500 or self.status in _REFUSALS:
            return codes.SERIOUS_FAILURE
        return codes.SUCCESS if not self.text else codes.MINOR_FAILURE

    @property
    def text(self) -> str:
        """How it ended, empty where all went well."""
        if not self.found:
            return f"Status {self.status}" if self.status else "The client left before the answer."
        if not self.whole:
            return _CUT
        return "Not all instances were stored or sent." if self.partial else ""


def _studies(scope: Scope, notes: Notes) -> Mapping[str, Counts]:
    """What it was about: what was found out, else the study that was named."""
    if notes.studies:
        return notes.studies
    path = scope.get("path_params", {})
    study = path.get("study") or searched.value_of(scope["query_string"], _URI_STUDY)
    if not is_uid(study):
        return {}
    return {study: {"": 1} if _is_one_instance(scope) else {}}


def _is_one_instance(scope: Scope) -> bool:
    path = scope.get("path_params", {})
    return "instance" in path or bool(searched.value_of(scope["query_string"], _URI_INSTANCE))


def _is_small(scope: Scope, studies: Mapping[str, Counts]) -> bool:
    """Whether many such requests make up what somebody does: one instance of one study each."""
    if scope["method"] == "DELETE" or len(studies) != 1:
        return False
    if scope["method"] == "POST":
        return sum(next(iter(studies.values())).values()) == 1
    return _is_one_instance(scope)
