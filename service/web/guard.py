"""Who may ask for what: signs in whoever a request is of, and looks whether they may do what they ask."""

import asyncio

from starlette.responses import Response
from starlette.types import Scope

from service.access.credentials import Bearer, Credentials, bearer, credentials_of
from service.access.door import Door
from service.access.identity import KEY, NOBODY, Identity
from service.access.refusals import NotSignedIn
from service.access.settings import AccessSettings
from service.access.shares import is_share
from service.dicom.errors import ArchiveError
from service.web.problems import http_status, problem
from service.web.rim import Crossing

_REALM = "Isthmus"
_CHECKING_THREADS = 2
_CHECKING_QUEUE = 128
_FETCHING_QUEUE = 128
_SHARE = b"share="


class Guard:
    """Lets requests of a `door` pass, or says why not; used on one loop.

    Passwords and tokens that are not known yet are checked in threads of its own, few enough that guessing
    passwords is slow and that nothing else has to wait for it.
    """

    def __init__(self, door: Door) -> None:
        self.door = door
        self._checking = Crossing("sign-in", threads=_CHECKING_THREADS, queue=_CHECKING_QUEUE)
        self._fetching = Crossing("keys", threads=1, queue=_FETCHING_QUEUE)
        self._under_way: dict[bytes, asyncio.Task[Identity]] = {}

    async def refusal(self, scope: Scope, needed: str | None) -> Response | None:
        """The answer to who may not do what takes the scope `needed`; `None` lets the request pass.

        Who it is of stands in the ASGI scope then. An empty scope takes no more than having signed in. Where
        nothing is needed nobody has to sign in, and credentials are not looked at.
        """
        scope[KEY] = NOBODY
        if needed is None:
            return None
        told: Credentials | None = None
        try:
            told = _credentials(scope)
            if told is None:
                raise NotSignedIn("Sign in first.")
            identity = scope[KEY] = self.door.known(told) or await self._identity(told)
        except NotSignedIn as refused:
            return self._unknown(refused, told)
        except ArchiveError as error:  # Busy, or a provider that does not answer
            return _later(error)
        if needed and not identity.may(needed):
            return self._not_permitted(needed, told)
        return None

    def close(self) -> None:
        """Wait for what is being checked."""
        self._checking.close()
        self._fetching.close()

    async def _identity(self, told: Credentials) -> Identity:
        """Whose credentials these are, checked once for all requests that bring them at the same time."""
        digest = self.door.digest(told)
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.ensure_future(self._found_out(told))
            task.add_done_callback(lambda done: self._over(digest, done))
        return await asyncio.shield(task)

    def _over(self, digest: bytes, done: asyncio.Task[Identity]) -> None:
        self._under_way.pop(digest, None)
        if not done.cancelled():
            done.exception()  # whoever asked may have left

    async def _found_out(self, told: Credentials) -> Identity:
        if self.door.lacks_keys(told):
            await self._fetching.run(self.door.refresh, told)
        return await self._checking.run(self.door.identify, told)

    def _unknown(self, refused: NotSignedIn, told: Credentials | None) -> Response:
        if refused.error == "invalid_request":
            return problem(400, str(refused))
        return _with_challenges(problem(401, str(refused)), self._challenges(refused, told))

    def _challenges(self, refused: NotSignedIn, told: Credentials | None) -> list[str]:
        """How to sign in (RFC 9110 11.6.1). Whoever has come with a token is not asked for a password."""
        challenges = []
        if self.door.takes_passwords and not (isinstance(told, Bearer) or refused.error):
            challenges.append(f'Basic realm="{_REALM}", charset="UTF-8"')
        if self.door.takes_tokens or not challenges:
            error = (
                f', error="{refused.error}", error_description="{_quotable(refused)}"'
                if refused.error
                else ""
            )
            challenges.append(f'Bearer realm="{_REALM}"{error}')
        return challenges

    def _not_permitted(self, needed: str, told: Credentials) -> Response:
        answer = problem(403, f"This takes the permission {needed!r}, which your sign-in does not have.")
        if not isinstance(told, Bearer):
            return answer
        described = f'Bearer realm="{_REALM}", error="insufficient_scope", scope="{needed}"'
        return _with_challenges(answer, [described])


def guard_of(access: AccessSettings) -> Guard | None:
    """Who has people sign in, where the settings say that they have to."""
    return Guard(Door(access)) if access.asked else None


def _credentials(scope: Scope) -> Credentials | None:
    """The credentials of a request: those of its headers, or else a share in its query.

    Links cannot have headers. The share is taken out of the query, which the rest of the service reads.
    `NotSignedIn` where both are there (RFC 6750 2).
    """
    told = credentials_of([value for name, value in scope["headers"] if name == b"authorization"])
    query: bytes = scope.get("query_string", b"")
    if _SHARE not in query:
        return told
    items = query.split(b"&")
    shares = [item.removeprefix(_SHARE) for item in items if item.startswith(_SHARE)]
    if not shares:
        return told
    if told is not None or len(shares) > 1:
        raise NotSignedIn("There are credentials in more than one place.", "invalid_request")
    link = bearer(shares[0])
    if scope["method"] not in ("GET", "HEAD") or not is_share(link.token):
        raise NotSignedIn("The query takes links to studies, for reading; other tokens are for headers.")
    scope["query_string"] = b"&".join(item for item in items if not item.startswith(_SHARE))
    return link


def _later(error: ArchiveError) -> Response:
    status = http_status(error)
    return problem(status, str(error), {"Retry-After": str(getattr(error, "retry_after_s", 5))})


def _quotable(refused: NotSignedIn) -> str:
    """What may stand in a quoted string of a header (RFC 6750 3)."""
    return str(refused).encode("ascii", "replace").decode().replace('"', "'").replace("\\", "/")


def _with_challenges(answer: Response, challenges: list[str]) -> Response:
    answer.headers["WWW-Authenticate"] = ", ".join(challenges)
    answer.headers["Cache-Control"] = "no-store"
    return answer
