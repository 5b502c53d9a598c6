"""Limits of what is on its way at once: how many requests, and how much of an answer."""

from starlette.types import Message, Send

from service.dicom.errors import TooLarge
from service.environment import as_size

# What is answered even where too much else is in flight.
ALWAYS = frozenset(("/healthz", "/readyz", "/metrics"))


def bounded(send: Send, most_bytes: int) -> Send:
    """`send` for an answer of at most `most_bytes`: `TooLarge` for a larger one.

    One whose size is told is refused before anything of it has left; another is broken off.
    """
    left = most_bytes

    async def within(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            if _told(message) > most_bytes:
                raise TooLarge(
                    f"The answer would be larger than {as_size(most_bytes)} (ISTHMUS_MAX_RESPONSE); ask for "
                    "less at a time: a series, an instance, some frames or a range of bytes."
                )
        else:
            left -= message["count"] if "count" in message else len(message.get("body", b""))
            if left < 0:
                raise TooLarge(f"The answer is larger than {as_size(most_bytes)} (ISTHMUS_MAX_RESPONSE).")
        await send(message)

    return within


def _told(start: Message) -> int:
    lengths = (int(value) for name, value in start["headers"] if name.lower() == b"content-length")
    return next(lengths, 0)


def places(limit: int, uploads: int) -> int:
    """How many store requests may be among `limit` requests: half, so that stalled ones leave room."""
    return min(uploads, max(limit // 2, 1))
