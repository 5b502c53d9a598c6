"""A site's own function that is asked where an instance goes, in a process of its own that may be ended."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.forwarding.settings import ForwardingSettings
from service.environment import SettingError

log = logging.getLogger("isthmus.forwarding")

_WORKER = Path(__file__).with_name("worker.py")
_LONGEST_ANSWER = 1 << 16
_MOST_TARGETS = 1000
_END_S = 10.0
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class HookFailed(Exception):
    """The hook gave no answer that can be used; the message says why, without its own words."""


class Hook:
    """The function `module:function` of the folder of hooks; asked one instance at a time."""

    def __init__(self, name: str, settings: ForwardingSettings) -> None:
        self.name = name
        self._settings = settings
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._number = 0

    async def start(self) -> None:
        """Have the function imported; `SettingError` if that cannot be done."""
        try:
            async with self._turn:
                await self._running()
        except HookFailed as error:
            raise SettingError(
                f"ISTHMUS_HOOKS: the hook {self.name} of ISTHMUS_PEERS cannot be loaded: {error}."
            ) from None

    async def ask(self, arrival: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The targets that the hook names, `None` where it leaves that to the rule.

        Raises `HookFailed`; the process is ended then, and another one takes the next question.
        """
        async with self._turn:
            try:
                process = await self._running()
                self._number += 1
                timeout_s = self._settings.hook_timeout_s
                question = {"number": self._number, "timeout_s": timeout_s, "arrival": arrival}
                async with asyncio.timeout(timeout_s):
                    return _targets(await self._answer(process, question), self._number)
            except TimeoutError:
                await self._end()
                raise HookFailed(f"it gave no answer within {self._settings.hook_timeout_s:g} s") from None
            except BaseException:
                await self._end()
                raise

    async def close(self) -> None:
        """End the process."""
        await self._end()

    async def _running(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        settings = self._settings
        if settings.hooks is None:
            raise HookFailed("ISTHMUS_HOOKS names no folder")
        module, _, function = self.name.partition(":")
        arguments = (str(settings.hooks), module, function, str(settings.hook_bytes))
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-B", str(_WORKER), *arguments),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd=settings.hooks,
                env=_ENVIRONMENT,
                start_new_session=True,  # a group of its own, which is ended with all that it started
                limit=_LONGEST_ANSWER,
            )
            async with asyncio.timeout(settings.hook_start_s):
                told = await self._line(process)
        except OSError as error:
            raise HookFailed(f"no process can be started: {error.strerror}") from error
        except TimeoutError:
            await self._end()
            raise HookFailed(f"its import takes longer than {settings.hook_start_s:g} s") from None
        if "ready" not in told:
            await self._end()
            raise HookFailed("its module has no such function" if "lacks" in told else _failure(told))
        return process

    async def _answer(self, process: Process, question: Mapping[str, Any]) -> Mapping[str, Any]:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            raise HookFailed("its process has ended") from None
        return await self._line(process)

    async def _line(self, process: Process) -> Mapping[str, Any]:
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            told = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):  # too long, or no JSON
            told = {}
        if told is None:
            raise HookFailed("its process has ended")
        if not isinstance(told, dict):
            raise HookFailed("what it answers makes no sense")
        return told

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while process.stdout is not None and await process.stdout.read(_LONGEST_ANSWER):
                    pass  # to its end, where the pipe is closed
                await process.wait()


def _targets(told: Mapping[str, Any], number: int) -> tuple[str, ...] | None:
    if "failed" in told:
        raise HookFailed(_failure(told))
    targets = told.get("targets")
    if told.get("number") != number:
        raise HookFailed("what it answers makes no sense")
    if targets is None:
        return None
    if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
        raise HookFailed("it returned neither None nor a list of names")
    if len(targets) > _MOST_TARGETS:
        raise HookFailed("it returned too many names")
    return tuple(dict.fromkeys(targets))


def _failure(told: Mapping[str, Any]) -> str:
    text = told.get("failed")
    words = "".join(c for c in text if " " <= c <= "~")[:200] if isinstance(text, str) else ""
    return f"it ended with {words}" if words else "what it answers makes no sense"
