"""The command `isthmus`: up · serve · bridge · import · reindex · check · sweep · password · health."""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from service import logs, orphans
from service.dicom.errors import ArchiveError
from service.environment import SettingError
from service.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. A setting that cannot be used ends it with 2."""
    asked = _parser().parse_args(arguments)
    if os.getpid() == 1 and (ended := orphans.attend()) is not None:
        return ended
    logs.set_up()
    try:
        return _COMMANDS[asked.command](asked)
    except SettingError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        return 2
    except ArchiveError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="isthmus", description="A DICOMweb server with a bridge to DIMSE.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="service and bridge together, on one machine")
    up.add_argument(
        "--ohif", metavar="DIR", help="an unpacked build of OHIF, to be served at /ohif (ISTHMUS_OHIF)"
    )
    serve = commands.add_parser("serve", help="the service: DICOMweb over HTTP")
    serve.add_argument("--leash", type=int, metavar="FD", help="a pipe whose closing ends the service")
    serve.add_argument("--socket", type=int, metavar="FD", help="a listening socket to serve from")
    serve.add_argument("--counters", type=_counters, metavar="FD:PLACE", help="memory that is counted in")
    serve.add_argument("--login", type=int, metavar="FD", help="a file with the token of a bridge beside it")
    serve.add_argument("--beside", type=_address, metavar="HOST:PORT", help="be ready only if this listens")
    bridge = commands.add_parser("bridge", help="the bridge: DIMSE to DICOMweb")
    bridge.add_argument("--leash", type=int, metavar="FD", help="a pipe whose closing ends the bridge")
    password = commands.add_parser(
        "password", help="a line of ISTHMUS_PASSWORDS_FILE; the password is asked for, or read from a pipe"
    )
    password.add_argument("name", metavar="NAME")
    loading = commands.add_parser("import", help="load files and folders into the archive")
    loading.add_argument("paths", nargs="+", metavar="PATH")
    loading.add_argument(
        "--adopt",
        action="store_true",
        help="enter what is in folders or s3://BUCKET/PREFIX where it lies, never copied, changed or deleted",
    )
    commands.add_parser("reindex", help="make the index anew from the objects")
    checking = commands.add_parser("check", help="compare rows with objects and say what is wrong")
    checking.add_argument(
        "--quick", action="store_true", help="do not read objects: compare their sizes and kept digests"
    )
    sweeping = commands.add_parser("sweep", help="delete objects that nothing refers to")
    sweeping.add_argument(
        "--older-than",
        type=_hours,
        default=24.0,
        metavar="HOURS",
        help="spare younger objects, whose rows may be on their way (default 24; longer than any request)",
    )
    sweeping.add_argument(
        "--even-most",
        action="store_true",
        help="delete them also where they outnumber the objects that the index knows",
    )
    health = commands.add_parser("health", help="ask whether what runs here is well: exit code 0, or 1")
    health.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="serve, bridge or a URL; without it whatever of the two listens, of which one at least has to",
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _counters(text: str) -> tuple[int, int]:
    descriptor, _, place = text.partition(":")
    return int(descriptor), int(place)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    # Rows follow their objects within a minute; an hour is far beyond what any of them waits.
    if not 1 <= hours < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours from 1 on")
    return hours


def _up(asked: argparse.Namespace) -> int:
    from service.starting import up

    if asked.ohif is not None:
        os.environ["ISTHMUS_OHIF"] = asked.ohif  # which the children of this process inherit
    return up(Settings.from_environment(os.environ), os.environ)


def _serve(asked: argparse.Namespace) -> int:
    from service.starting import serve

    settings = Settings.from_environment(os.environ)
    return serve(
        settings,
        leashed_to=asked.leash,
        socket_fd=asked.socket,
        beside=asked.beside,
        counters=asked.counters,
        login=asked.login,
    )


def _bridge(asked: argparse.Namespace) -> int:
    # The bridge knows the service, never the other way round: it is run by its name.
    sys.argv = ["bridge", *(["--leash", str(asked.leash)] if asked.leash is not None else [])]
    runpy.run_module("bridge", run_name="__main__", alter_sys=True)
    return 0


def _password(asked: argparse.Namespace) -> int:
    from service.access.asking import password_line

    line = password_line(asked.name)
    if line is None:
        return 1
    print(line)
    return 0


def _import(asked: argparse.Namespace) -> int:
    from tqdm import tqdm

    from service.archive.open import open_archive
    from service.importing import Summary, files_below, load

    settings = Settings.from_environment(os.environ)
    if asked.adopt:
        from service.mending import adopt

        return adopt(settings, asked.paths)
    paths = [Path(path) for path in asked.paths]
    missing = [path for path in paths if not path.exists()]
    if missing:
        print(f"isthmus: there is no {missing[0]}", file=sys.stderr)
        return 2
    files = files_below(paths)
    archive = open_archive(settings)
    summary = Summary()
    try:
        with tqdm(total=len(files), unit="file", disable=None) as bar:
            for outcome in load(archive, files):
                summary.add(*outcome)
                bar.update()
    finally:
        archive.close()
    print("\n".join(summary.lines("stored")))
    return 1 if summary.refused else 0


def _reindex(asked: argparse.Namespace) -> int:
    from service.mending import reindex

    return reindex(Settings.from_environment(os.environ))


def _check(asked: argparse.Namespace) -> int:
    from service.mending import check

    return check(Settings.from_environment(os.environ), quick=asked.quick)


def _sweep(asked: argparse.Namespace) -> int:
    from service.archive.open import open_archive

    archive = open_archive(Settings.from_environment(os.environ))
    try:
        swept = archive.sweep(older_than_s=asked.older_than * 3600, even_most=asked.even_most)
    finally:
        archive.close()
    print(f"{swept.doomed} deleted objects drained, {swept.orphans} orphans, {swept.unfinished} unfinished.")
    if swept.failed:
        print(f"{swept.failed} could not be deleted and wait for the next sweep.")
    if swept.spared:
        print(
            f"isthmus: {swept.spared} objects have no row, more than have one, and were left alone. If "
            "ISTHMUS_INDEX is the right index, --even-most deletes them.",
            file=sys.stderr,
        )
    return 1 if swept.failed or swept.spared else 0


def _health(asked: argparse.Namespace) -> int:
    from service import probe

    here = probe.health(asked.target, os.environ)
    for health in here:
        print(health.told, file=sys.stdout if health.well else sys.stderr)
    return 0 if all(health.well for health in here) else 1


_COMMANDS = {
    "up": _up,
    "serve": _serve,
    "bridge": _bridge,
    "password": _password,
    "import": _import,
    "reindex": _reindex,
    "check": _check,
    "sweep": _sweep,
    "health": _health,
}


if __name__ == "__main__":
    sys.exit(main())
