"""From the loop of the HTTP to the loop of the associations: the only way between the two."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from service.dicom.errors import UpstreamTimeout


class DimseLoop:
    """The loop on which associations, the archive's client and jobs live, seen from another one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s

    async def run[T](self, coroutine: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """What `coroutine` returns, run over there; it is cancelled when whoever asked has left.

        Raises what it raises, and `UpstreamTimeout` after `timeout_s`.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as cause:
            raise UpstreamTimeout("The bridge has too much to do; try again shortly.") from cause
