"""A headless Chromium, spoken to in the DevTools protocol over a pair of pipes: no driver, no library.

with Browser.start() as browser:
    tab = browser.open("http://127.0.0.1:8080/")
    tab.wait_for("document.querySelector('table')")
    tab.press("ArrowDown")
    assert tab.complaints == []
"""

import base64
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

PATIENCE_S = 120.0
# Chromium reads commands from descriptor 3 and writes to 4.
_LAUNCH = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--mute-audio",
)
# For pages that draw by WebGL: here in software.
SOFTWARE_WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Waits in the page itself, for whatever changes there; the timeout ends it where nothing ever does.
_UNTIL = """
new Promise((resolve, reject) => {
  const ends = performance.now() + %d;
  const look = () => {
    let found = null;
    try { found = (() => (%s))(); } catch (error) { found = null; }
    if (found) resolve(true);
    else if (performance.now() > ends) reject(new Error("never came true"));
    else setTimeout(look, 20);
  };
  look();
})
"""
_GAVE_WAY = "Inspected target navigated or closed"
_KEYS: Mapping[str, tuple[str, int]] = {
    "ArrowDown": ("ArrowDown", 40), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39),
    "ArrowUp": ("ArrowUp", 38), "End": ("End", 35), "Enter": ("Enter", 13), "Escape": ("Escape", 27),
    "Home": ("Home", 36), "PageDown": ("PageDown", 34), "PageUp": ("PageUp", 33), "Tab": ("Tab", 9),
}  # fmt: skip
_TEXTS = {"Enter": "\r"}


def installed() -> str | None:
    """The path of a Chromium, if one is installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def chromium() -> str:
    """The path of a Chromium; skips the test where none is installed."""
    found = installed()
    if found is None:
        pytest.skip("Chromium is not installed (Debian: chromium): pages cannot be tried in a browser.")
    return found


class ScriptError(AssertionError):
    """A script in the page failed."""


class Browser:
    """A running Chromium with a profile of its own."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int, profile: str) -> None:
        self._process = process
        self._commands = commands
        self._profile = profile
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._targets: dict[str, dict[str, Any]] = {}
        self._unheeded: set[int] = set()
        self._number = 0
        self._gone = False
        self._reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, *flags: str) -> Self:
        """Start it; skips the test where there is none."""
        program = chromium()
        profile = tempfile.mkdtemp(prefix="browser-")
        pipes = [_high(end) for pair in (os.pipe(), os.pipe()) for end in pair]
        commands_in, commands, answers, answers_out = pipes
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _LAUNCH, str(commands_in), str(answers_out)),
                *(program, *_FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"),
            ],
            pass_fds=(commands_in, answers_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands_in)
        os.close(answers_out)
        return cls(process, commands, answers, profile)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, url: str = "about:blank", *, width: int = 1280, height: int = 800) -> "Tab":
        """A tab with a browsing context of its own: no cookies, storage or cache of any other."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        tab = self._attached(target)
        tab.resize(width, height)
        if url != "about:blank":
            tab.go(url)
        return tab

    def window_beside(self, tab: "Tab") -> "Tab":
        """The other window of a tab's browsing context, once it has been opened."""
        self.call("Target.setDiscoverTargets", discover=True)

        def other() -> str | None:
            context = self._targets[tab.target]["browserContextId"]
            pages = [one for one in self._targets.values() if one["type"] == "page"]
            beside = [one["targetId"] for one in pages if one["browserContextId"] == context]
            return next((one for one in beside if one != tab.target), None)

        with self._changed:
            there = self._changed.wait_for(lambda: tab.target in self._targets and other(), PATIENCE_S)
        assert there, "No window was opened."
        return self._attached(there)

    def wait_until_closed(self, tab: "Tab") -> None:
        """Wait until a window that was found beside another one is closed."""
        with self._changed:
            closed = self._changed.wait_for(lambda: tab.target not in self._targets, PATIENCE_S)
        assert closed, "The window was never closed."

    def _attached(self, target: str) -> "Tab":
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        self._listeners[session] = tab.hear
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            tab.call(f"{domain}.enable")
        return tab

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        with self._changed:
            self._number += 1
            number = self._number
            command = {"id": number, "method": method, "params": parameters}
            if session is not None:
                command["sessionId"] = session
            _write_all(self._commands, json.dumps(command).encode() + b"\0")
            there = self._changed.wait_for(lambda: self._gone or number in self._answers, PATIENCE_S + 5)
            assert there and number in self._answers, f"Chromium never answered {method}."
            answer = self._answers.pop(number)
        if "error" in answer:
            raise ScriptError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer.get("result", {})
        return result

    def tell(self, method: str, session: str, **parameters: Any) -> None:
        """A command whose result nobody waits for, as where an event is answered."""
        with self._changed:
            self._number += 1
            self._unheeded.add(self._number)
            command = {"id": self._number, "method": method, "sessionId": session, "params": parameters}
            _write_all(self._commands, json.dumps(command).encode() + b"\0")

    def close(self) -> None:
        """End it, and remove its profile."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        os.close(self._commands)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _read(self, answers: int) -> None:
        held = bytearray()
        with os.fdopen(answers, "rb", buffering=0) as pipe:
            while block := pipe.read(1 << 16):
                held += block
                *whole, rest = held.split(b"\0")
                held = bytearray(rest)
                for text in whole:
                    self._take(json.loads(text))
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _take(self, told: dict[str, Any]) -> None:
        if "id" in told:
            with self._changed:
                if told["id"] in self._unheeded:
                    self._unheeded.discard(told["id"])
                else:
                    self._answers[told["id"]] = told
                self._changed.notify_all()
        elif told["method"] in ("Target.targetCreated", "Target.targetDestroyed"):
            with self._changed:
                about = told["params"].get("targetInfo")
                if about is not None:
                    self._targets[about["targetId"]] = about
                else:
                    self._targets.pop(told["params"]["targetId"], None)
                self._changed.notify_all()
        elif listener := self._listeners.get(told.get("sessionId", "")):
            listener(told["method"], told.get("params", {}))


class Tab:
    """One page. `requests` are the URLs it asked for, `complaints` what the browser said was wrong.

    `asked` are the URLs for which the browser asked for a password, `saved` the names of files it saved.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self.target = target
        self._changed = threading.Condition()
        self._shown: list[str] = []  # what the window showed, one document after the other
        self._loaded: set[str] = set()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.saved: list[str] = []
        self.asked: list[str] = []
        self._login: dict[str, str] = {}
        self._saving: dict[str, str] = {}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command about this page."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Load a page, and wait until it and what it links to are there."""
        if "errorText" in (told := self.call("Page.navigate", url=url)):
            raise ScriptError(f"{url}: {told['errorText']}")
        if document := told.get("loaderId"):  # else only what stands behind the # is another
            with self._changed:
                there = self._changed.wait_for(lambda: self._is_loaded(document), PATIENCE_S)
            assert there, f"{url} never loaded."

    def _is_loaded(self, document: str) -> bool:
        """Whether a document, or one that it gave way to, and what it links to are there."""
        if document not in self._shown:
            return False
        since = self._shown[self._shown.index(document) :]
        return not self._loaded.isdisjoint(since)

    def run(self, expression: str) -> Any:
        """The value of an expression, or of what a promise comes to."""
        told = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise ScriptError(details.get("exception", {}).get("description") or details["text"])
        return told["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true in the page, or in the one that it leads to."""
        ends = time.monotonic() + PATIENCE_S
        try:
            while not self._comes_true(expression, ends):
                pass
        except ScriptError as error:
            shown = self.run("document.body.innerText")[:1500]
            raise AssertionError(f"{expression}: {error}\n{shown}\n{self.complaints}") from None

    def _comes_true(self, expression: str, ends: float) -> bool:
        """Whether it did before the page gave way to another."""
        left_s = max(ends - time.monotonic(), 0.0)
        try:
            self.run(_UNTIL % (left_s * 1000, expression))
        except ScriptError as error:
            if _GAVE_WAY not in str(error):
                raise
            return False
        return True

    def text(self, selector: str) -> str:
        """The text of the first element of a selector."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str, *, place: int = 0) -> None:
        """Click in the middle of an element, as a mouse would."""
        self.wait_for(f"document.querySelectorAll({json.dumps(selector)})[{place}]")
        x, y = self.run(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{place}];"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)

    def mouse(self, kind: str, x: float, y: float, *, button: str = "left", buttons: int = 0) -> None:
        """One event of the mouse: `mousePressed`, `mouseMoved`, `mouseReleased`."""
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1
        )

    def drag(self, start: tuple[float, float], end: tuple[float, float], *, button: str = "left") -> None:
        """Press, move and let go."""
        self.mouse("mousePressed", *start, button=button, buttons=1)
        self.mouse("mouseMoved", *end, button=button, buttons=1)
        self.mouse("mouseReleased", *end, button=button)

    def drop(self, files: Sequence[Path], x: float = 300, y: float = 300) -> None:
        """Drop files on the page."""
        data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key: a name such as `ArrowDown`, or a character."""
        code, number = _KEYS.get(key, ("", ord(key.upper()[0]) if len(key) == 1 else 0))
        text = _TEXTS.get(key, key if len(key) == 1 else "")
        told = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        """Give the page another size; `touch` makes it a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def download_into(self, folder: Path) -> None:
        """Keep downloads there, under the names that they come with."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def answer_passwords(self, name: str, password: str) -> None:
        """Fill in the browser's own dialogs that ask for a name and a password."""
        self._login = {"response": "ProvideCredentials", "username": name, "password": password}
        self.call("Fetch.enable", handleAuthRequests=True)

    def cancel_passwords(self) -> None:
        """Close the browser's own dialogs that ask for a name and a password."""
        self._login = {"response": "CancelAuth"}
        self.call("Fetch.enable", handleAuthRequests=True)

    def saved_by(self, act: Callable[[], None], folder: Path) -> Path:
        """The file that an action has the browser save below `folder`, once all of it is there."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        before = len(self.saved)
        act()
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.saved) > before, PATIENCE_S)
        assert there, "Nothing was saved."
        return folder / self.saved[-1]

    def screenshot(self, path: Path) -> None:
        """A picture of what is in sight, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def renew(self) -> None:
        """Leave the page and forget all about it, which costs less than another tab."""
        origin = self.run("location.origin")
        self.go("about:blank")
        if origin != "null":
            self.call("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        self.call("Emulation.setEmulatedMedia", features=[])
        self.requests.clear()
        self.complaints.clear()

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self.target)

    def hear(self, method: str, told: dict[str, Any]) -> None:
        """Take note of what the browser says of the page."""
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Fetch.requestPaused":
            self._browser.tell("Fetch.continueRequest", self._session, requestId=told["requestId"])
        elif method == "Fetch.authRequired":
            self.asked.append(told["request"]["url"])
            self._browser.tell(
                "Fetch.continueWithAuth",
                self._session,
                requestId=told["requestId"],
                authChallengeResponse=self._login,
            )
        elif method == "Page.downloadWillBegin":
            self._saving[told["guid"]] = told["suggestedFilename"]
        elif method == "Page.downloadProgress" and told["state"] == "completed":
            with self._changed:
                self.saved.append(self._saving.pop(told["guid"]))
                self._changed.notify_all()
        elif method == "Page.frameNavigated" and "parentId" not in told["frame"]:
            with self._changed:
                self._shown.append(told["frame"]["loaderId"])
                self._changed.notify_all()
        elif method == "Page.loadEventFired":
            with self._changed:
                self._loaded.update(self._shown[-1:])
                self._changed.notify_all()


@contextlib.contextmanager
def folder_served(folder: Path) -> Iterator[str]:
    """The address of a server of what is in a folder, for pages of a test's own."""
    handler = functools.partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _high(descriptor: int) -> int:
    """The same end of a pipe under a number that is in nobody's way."""
    other = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64)
    os.close(descriptor)
    return other


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
