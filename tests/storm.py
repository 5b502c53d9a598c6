"""Clients of several pods that store, delete and read the same instances, and what must come of it."""

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.making import a_ct

ROOT = "/dicom-web"
_AS_STORED = "application/dicom; transfer-syntax=*"
_MULTIPART = 'multipart/related; type="application/dicom"; boundary=bnd'
_FRAMES = 'multipart/related; type="application/octet-stream"'
_UNKNOWN = float("inf")
NOBODY = -1  # in the place of a status: nothing listens there, so that nothing can have happened


@dataclass(frozen=True, slots=True)
class Subject:
    """An instance that clients contend for: its files differ, and clients store now this one, now that."""

    study: str
    series: str
    instance: str
    files: tuple[bytes, ...]
    frames: tuple[bytes, ...]
    lasting: bool

    @property
    def path(self) -> str:
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


def subjects(chance: random.Random, *, large: int) -> list[Subject]:
    """Three studies of which nothing is deleted and three others; `large` is the size of some frames."""
    made = []
    for study, series, number in itertools.product(range(6), range(2), range(3)):
        uid = f"2.25.88.{study}"
        size = large if (study % 3, series, number) == (0, 0, 0) else 32
        pixels = [chance.randbytes(size) for _ in range(2)]
        uids = {"study": uid, "series": f"{uid}.{series}", "instance": f"{uid}.{series}.{number}"}
        files = tuple(a_ct([value], **uids, InstanceNumber=number + 1) for value in pixels)
        frames = tuple(value[:32] for value in pixels)
        made.append(Subject(**uids, files=files, frames=frames, lasting=study < 3))
    return made


@dataclass(frozen=True, slots=True)
class Act:
    """A store or delete, and when; `done` is `None`, and it has no end, where nobody knows."""

    stores: bool
    file: int
    begun: float
    ended: float
    done: bool | None

    @property
    def counts(self) -> bool:
        """Whether it may have changed something."""
        return self.done is not False


@dataclass
class Record:
    """What was done to each instance by UID, and what must not have been answered."""

    acts: dict[str, list[Act]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, subject: Subject, act: Act) -> None:
        with self.lock:
            self.acts.setdefault(subject.instance, []).append(act)

    def answered(self, what: str, status: int) -> None:
        with self.lock:
            told = f"{what} {status}"
            self.answers[told] = self.answers.get(told, 0) + 1

    def complain(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def must_be(self, subject: Subject, *, replaces: bool) -> tuple[set[int], bool]:
        """The files of which one must be there in the end, and whether none may be there as well."""
        acts = self.acts.get(subject.instance, [])
        stores = [act for act in acts if act.stores and act.counts]
        deletes = [act for act in acts if not act.stores and act.counts]
        if not stores or any(d.done and all(s.ended < d.begun for s in stores) for d in deletes):
            return set(), True
        possible = {act.file for act in stores}
        sure = [s for s in stores if s.done and all(d.ended < s.begun for d in deletes)]
        for store in sure:
            rivals = [other for other in stores if other.file != store.file]
            if not replaces or all(rival.ended < store.begun for rival in rivals):
                possible &= {store.file}
        return possible, not sure


class Client(threading.Thread):
    """Does one thing after the other, each at some pod, until it is told to stop."""

    def __init__(
        self, seed: int, ports: Callable[[], Sequence[int]], among: Sequence[Subject], record: Record
    ) -> None:
        super().__init__(name=f"client {seed}", daemon=True)
        self._chance = random.Random(seed)
        self._ports = ports
        self._among = among
        self._record = record
        self.stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        acts = [self._store, self._delete, self._read, self._search]
        try:
            while not self.stopping.is_set():
                self._chance.choices(acts, [5, 1, 5, 2])[0]()
        except BaseException as error:
            self.error = error

    def _store(self) -> None:
        some = self._chance.sample(self._among, self._chance.randint(1, 5))
        chosen = [(subject, self._chance.randrange(len(subject.files))) for subject in some]
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + subject.files[file] + b"\r\n" for subject, file in chosen) + b"--bnd--"
        begun = time.monotonic()
        status, answer = self._ask("POST", "/studies", {"Content-Type": _MULTIPART}, body)
        ended = time.monotonic()
        if status == NOBODY:
            return
        if status not in (0, 200, 202, 409, 503):
            self._record.complain(f"store {status} {answer[:300]!r}")
        told = json.loads(answer) if status in (200, 202, 409) else {}
        stored = {_uid(item) for item in told.get("00081199", {}).get("Value", ())}
        refused = {_uid(item) for item in told.get("00081198", {}).get("Value", ()) if _is_duplicate(item)}
        for subject, file in chosen:
            done = True if subject.instance in stored else False if subject.instance in refused else None
            self._record.note(subject, Act(True, file, begun, _UNKNOWN if done is None else ended, done))

    def _delete(self) -> None:
        subject = self._chance.choice([one for one in self._among if not one.lasting])
        study, series = f"/studies/{subject.study}", f"/studies/{subject.study}/series/{subject.series}"
        path = self._chance.choice([study, series, subject.path, subject.path, subject.path])
        begun = time.monotonic()
        status, answer = self._ask("DELETE", path)
        ended = time.monotonic()
        if status == NOBODY:
            return
        if status not in (0, 204, 404, 503):
            self._record.complain(f"delete {status} {answer[:300]!r}")
        done = {204: True, 404: False}.get(status)
        for one in self._among:
            if f"{one.path}/".startswith(f"{path}/"):
                self._record.note(one, Act(False, 0, begun, _UNKNOWN if done is None else ended, done))

    def _read(self) -> None:
        subject = self._chance.choice(self._among)
        with self._record.lock:
            acts = list(self._record.acts.get(subject.instance, ()))
        there = subject.lasting and any(act.done for act in acts)
        if self._chance.random() < 0.5:
            status, body = self._ask("GET", subject.path, {"Accept": _AS_STORED})
            right = body in subject.files
        else:
            status, body = self._ask("GET", f"{subject.path}/frames/1", {"Accept": _FRAMES})
            right = any(frame in body for frame in subject.frames)
        may_be = (NOBODY, 0, 503, *([200] if right else []), *([] if there else [404]))
        if status not in may_be:
            self._record.complain(f"read {subject.path} {status} {body[:300]!r} there={there}")

    def _search(self) -> None:
        subject = self._chance.choice(self._among)
        series = f"/studies/{subject.study}/series/{subject.series}"
        below = self._chance.choice(["/metadata", "/instances"])
        status, body = self._ask("GET", f"{series}{below}", {"Accept": "application/dicom+json"})
        if status not in (NOBODY, 0, 200, 204, 404, 503):
            self._record.complain(f"search {below} {status} {body[:300]!r}")
        if status == 200:
            known = {one.instance for one in self._among if one.series == subject.series}
            found = [one["00080018"]["Value"][0] for one in json.loads(body)]
            if len(found) != len(set(found)) or not known.issuperset(found):
                self._record.complain(f"search {below} found {found}")

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body, as `asked` tells them."""
        status, answer, _ = asked(self._chance.choice(self._ports()), method, path, headers, body)
        self._record.answered(method, status)
        return status, answer


def asked(
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, bytes, Mapping[str, str]]:
    """Status, body and headers of an answer; status 0 where the connection breaks, or `NOBODY`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request(method, ROOT + path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
    except ConnectionRefusedError:
        return NOBODY, b"", {}
    except (ConnectionError, http.client.HTTPException):
        return 0, b"", {}
    finally:
        connection.close()


def as_stored(port: int, subject: Subject) -> tuple[int, bytes]:
    """Status and body of the instance's retrieval."""
    status, body, _ = asked(port, "GET", subject.path, {"Accept": _AS_STORED})
    return status, body


def by_series(among: Sequence[Subject]) -> Iterator[tuple[str, list[Subject]]]:
    """The path of each series and its instances."""
    for series, some in itertools.groupby(among, key=lambda one: one.path.partition("/instances")[0]):
        yield series, list(some)


def _uid(item: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    return item["00081155"]["Value"][0]


def _is_duplicate(item: Mapping[str, Mapping[str, Sequence[int]]]) -> bool:
    return item["00081197"]["Value"][0] == 0x0111
