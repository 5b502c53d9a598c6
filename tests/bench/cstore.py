"""C-STORE of a CT series by DCMTK's storescu into service and bridge, against DCMTK and Orthanc."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.bench import baselines, orthanc
from tests.bench.client import Connection
from tests.bench.figures import PER_SECOND, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, Site, program, seconds_of, to_its_end
from tests.bench.slices import SLICES, a_series, study_and_series

NAME = "cstore"
_ASSOCIATIONS = (1, 4)
_OURS = "service and bridge"
_BY_HTTP = "service and bridge, by STOW-RS"
_IGNORE = "storescp --ignore"
_WRITE = "storescp to files, not synced"
_NAGLE = "as users have it"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Instances per second, the start of storescu included on every side."""
    scu, scp = program("storescu"), program("storescp")
    if scu is None or scp is None:
        yield Skipped(NAME, "storescp", "storescu and storescp of DCMTK are not installed")
        return
    with ExitStack() as stack:
        site = stack.enter_context(rig.service())
        bridge = stack.enter_context(rig.bridge(site, ISTHMUS_BRIDGE_STORES_BY="itself")).port
        apart = stack.enter_context(rig.bridge(site, ISTHMUS_BRIDGE_STORES_BY="http")).port
        sides: dict[str, Callable[[], float]] = {}
        pairs: list[tuple[str, str, str]] = []
        for count in _ASSOCIATIONS:
            # One process takes one association at a time; several at once need its children.
            single = ["--fork"] if count > 1 else []
            ignoring = stack.enter_context(baselines.storescp(rig, scp, *single, "--ignore"))
            received = rig.new_folder("received")
            writing = stack.enter_context(baselines.storescp(rig, scp, *single, "-od", str(received), "+B"))
            what = f"storescu, {count} association{'s' * (count > 1)}"
            ours = f"{_OURS} ×{count}"
            sides[ours] = partial(_into_product, rig, scu, bridge, site, count)
            by_http = f"{_BY_HTTP} ×{count}"
            sides[by_http] = partial(_into_product, rig, scu, apart, site, count)
            for name, port in ((_IGNORE, ignoring), (_WRITE, writing)):
                sides[f"{name} ×{count}"] = partial(_send, rig, scu, port, count)
                pairs.append((what, ours, f"{name} ×{count}"))
            pairs.append((f"{what}, by STOW-RS", by_http, f"{_IGNORE} ×{count}"))
        if orthanc.installed():
            other = stack.enter_context(orthanc.orthanc(rig)).dicom_port
            for count in _ASSOCIATIONS:
                name = f"{orthanc.NAME} ×{count}"
                sides[name] = partial(_send, rig, scu, other, count)
                what = f"storescu, {count} association{'s' * (count > 1)}"
                pairs.append((what, f"{_OURS} ×{count}", name))
                pairs.append((f"{what}, by STOW-RS", f"{_BY_HTTP} ×{count}", name))
            untuned = stack.enter_context(orthanc.orthanc(rig, environ={})).dicom_port
            sides[f"{_OURS}, {_NAGLE}"] = partial(_send, rig, scu, bridge, 1, environ={})
            sides[f"{orthanc.NAME}, {_NAGLE}"] = partial(_send, rig, scu, untuned, 1, environ={})
            pairs.append(("storescu with Nagle", f"{_OURS}, {_NAGLE}", f"{orthanc.NAME}, {_NAGLE}"))
        else:
            yield Skipped(NAME, orthanc.NAME, "orthanc and orthanc-dicomweb are not installed")
        values = in_turn(rounds, sides)
    for what, ours, name in pairs:
        yield Figure(NAME, what, PER_SECOND, values[ours], name, values[name])


def _into_product(rig: Rig, scu: str, port: int, site: Site, associations: int) -> float:
    """Instances per second; `Failed` unless a search finds all of them afterwards."""
    number = rig.next_series()
    rate = _send(rig, scu, port, associations, number)
    path = site.url(*study_and_series(number), f"/instances?limit={2 * SLICES}")
    with Connection(site.port) as connection:
        answer = connection.get(path)
    found = len(json.loads(bytes(answer.body))) if answer.status == 200 else 0
    if found != SLICES:
        raise Failed(f"{found} of {SLICES} instances were found after C-STORE.")
    return rate


def _send(
    rig: Rig,
    scu: str,
    port: int,
    associations: int,
    number: int | None = None,
    environ: Mapping[str, str] = baselines.DCMTK_ENVIRON,
) -> float:
    """Send one series over `associations` at once, each with its share of the files."""
    folder = rig.new_folder("series")
    files = a_series(rig.next_series() if number is None else number)
    shares: list[Path] = []
    for association in range(associations):
        share = folder / str(association)
        share.mkdir()
        for place, content in enumerate(files[association::associations]):
            (share / f"{place:03}.dcm").write_bytes(content)
        shares.append(share)
    command = [scu, "-aec", "ISTHMUS", "127.0.0.1", str(port), "+sd"]
    os.sync()  # what was written before is at rest
    sending = (partial(to_its_end, [*command, str(share)], environ) for share in shares)
    rate = SLICES / seconds_of(*sending)
    shutil.rmtree(folder)
    return rate
