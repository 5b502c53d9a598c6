"""Why nobody is let in."""

from service.dicom.errors import ArchiveError, Busy


class NotSignedIn(ArchiveError):
    """The credentials are missing or no good.

    `error` is the code of RFC 6750 3.1 where there is one: `invalid_token`, or `invalid_request` for what
    should not have been sent at all.
    """

    def __init__(self, message: str, error: str = "") -> None:
        super().__init__(message)
        self.error = error


class ProviderUnavailable(Busy):
    """The provider of identities does not tell its keys, so that nobody's token can be checked."""


def bad_token(message: str) -> NotSignedIn:
    """The refusal of a bearer token."""
    return NotSignedIn(message, "invalid_token")
