"""The settings of sign-in, which both programs read alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.access.fetching import is_safe
from service.access.files import BadLine, text_of
from service.access.passwords import users_of
from service.access.shares import keys_of
from service.environment import SettingError, text

NONE = "none"
BEHIND_PROXY = "none!"
BASIC = "basic"
JWT = "jwt"
SIGN_IN_SCOPE = "openid profile"


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """How people sign in: by the ways in `ways`, of `basic` and `jwt`; nobody has to where it is empty.

    `anywhere` says that nobody has to beyond this machine either.
    """

    ways: tuple[str, ...] = ()
    anywhere: bool = False
    passwords_file: Path | None = None
    issuer: str = ""
    audience: str = ""
    client_id: str = ""
    asked_scope: str = SIGN_IN_SCOPE
    """What browsers ask the issuer for, space-separated (RFC 6749 3.3)."""
    ca_file: Path | None = None
    studies_claim: str = ""
    patients_claim: str = ""
    scope_prefix: str = ""
    leeway_s: float = 60.0
    """How far the clocks of issuer and server may differ."""
    share_key_file: Path | None = None
    companion: str = field(default="", repr=False)
    """The token of a bridge that was started together with the service."""

    @property
    def asked(self) -> bool:
        """Whether people have to sign in."""
        return bool(self.ways)

    @property
    def safe_beyond_loopback(self) -> bool:
        """Whether strangers may be able to reach the server."""
        return self.asked or self.anywhere


def read_access(environ: Mapping[str, str]) -> AccessSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    ways = _ways(environ)
    if ways in ((NONE,), (BEHIND_PROXY,)):
        if text(environ, "ISTHMUS_SHARE_KEY_FILE", ""):
            raise SettingError(
                "ISTHMUS_SHARE_KEY_FILE makes links for people who cannot sign in, and with "
                f"ISTHMUS_AUTH={ways[0]!r} nobody has to."
            )
        return AccessSettings(anywhere=ways == (BEHIND_PROXY,))
    passwords_file = _file(environ, "ISTHMUS_PASSWORDS_FILE", users_of)
    if BASIC in ways and passwords_file is None:
        raise SettingError("ISTHMUS_PASSWORDS_FILE must name a file of lines NAME:BCRYPT-HASH for 'basic'.")
    issuer = text(environ, "ISTHMUS_OIDC_ISSUER", "")
    if JWT in ways and not is_safe(issuer):
        raise SettingError(
            "ISTHMUS_OIDC_ISSUER must be the URL of an OpenID provider for ISTHMUS_AUTH='jwt', such as "
            f"https://login.example.org/realms/hospital (http on this machine only); it is {issuer!r}."
        )
    audience = text(environ, "ISTHMUS_OIDC_AUDIENCE", "")
    if JWT in ways and not audience:
        raise SettingError(
            "ISTHMUS_OIDC_AUDIENCE must be what tokens for this server have in their claim aud: without it, "
            "a token that the issuer made for any other server would do."
        )
    return AccessSettings(
        ways=ways,
        passwords_file=passwords_file,
        issuer=issuer,
        audience=audience,
        client_id=text(environ, "ISTHMUS_OIDC_CLIENT_ID", ""),
        asked_scope=_scope(environ),
        ca_file=_file(environ, "ISTHMUS_OIDC_CA", str),
        studies_claim=text(environ, "ISTHMUS_OIDC_STUDIES_CLAIM", ""),
        patients_claim=text(environ, "ISTHMUS_OIDC_PATIENTS_CLAIM", ""),
        scope_prefix=text(environ, "ISTHMUS_OIDC_SCOPE_PREFIX", ""),
        share_key_file=_file(environ, "ISTHMUS_SHARE_KEY_FILE", keys_of),
    )


def _ways(environ: Mapping[str, str]) -> tuple[str, ...]:
    given = text(environ, "ISTHMUS_AUTH", NONE)
    ways = tuple(dict.fromkeys(given.replace(",", " ").split()))
    alone = ways in ((NONE,), (BEHIND_PROXY,))
    if not ways or not (alone or set(ways) <= {BASIC, JWT}):
        raise SettingError(
            f"ISTHMUS_AUTH must be one of none, none!, basic, jwt, or 'basic,jwt' for both; it is {given!r}."
        )
    return ways


def _scope(environ: Mapping[str, str]) -> str:
    given = " ".join(text(environ, "ISTHMUS_OIDC_SCOPE", SIGN_IN_SCOPE).split())
    if "openid" not in given.split() or not given.isascii() or not given.isprintable() or '"' in given:
        raise SettingError(
            "ISTHMUS_OIDC_SCOPE must be the scopes that browsers ask the issuer for, openid among them, such "
            f"as 'openid profile offline_access'; it is {given!r}."
        )
    return given


def _file(environ: Mapping[str, str], name: str, understood: Callable[[str], object]) -> Path | None:
    given = text(environ, name, "")
    if not given:
        return None
    try:
        understood(text_of(Path(given)))
    except OSError as error:
        raise SettingError(
            f"{name} must name a file that can be read; {given!r} cannot: {error.strerror}."
        ) from None
    except BadLine as error:
        raise SettingError(f"{name} names {given!r}, and {error}.") from None
    return Path(given)
