"""The dashboard and the alerts speak of metrics that there are, with labels that they have."""

import json
import re
from pathlib import Path

import pytest
import yaml

from bridge.archive.remote import RemoteArchive
from bridge.archive.waited import Waited
from bridge.measures import Measures
from bridge.settings import ArchiveSettings, BridgeSettings
from bridge.spool.figures import families
from bridge.spool.spool import Spool
from service.exposition import exposed
from service.web.metrics import SCALARS
from tests.making import a_ct

CHART = Path(__file__).resolve().parents[2] / "helm/isthmus"
NAME = re.compile(r"isthmus_[a-z_]+")
SELECTED = re.compile(r"(isthmus_[a-z_]+)\{([^}]*)\}")
BY = re.compile(r"by \(([^)]*)\)")
OUTSIDE = {"instance", "namespace", "le"}  # given by Prometheus, and by every histogram
# Told by parts of the bridge that need a peer to say something.
JOBS = "isthmus_bridge_jobs"


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((CHART / "dashboards/isthmus.json").read_text())


def expressions(dashboard) -> list[str]:
    panels = [one["expr"] for panel in dashboard["panels"] for one in panel.get("targets", ())]
    rules = yaml.safe_load((CHART / "dashboards/alerts.yaml").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    variables = [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]
    return [*panels, *alerts, *variables]


def told(text: str) -> dict[str, set[str]]:
    """The labels of each metric in an exposition."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = re.match(r"(isthmus_[a-z_]+)(?:\{(.*)\})? ", line)
        if match is not None:
            found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return found


@pytest.fixture
def live(site) -> dict[str, set[str]]:
    """What service and bridge tell once everything has happened once."""
    file = a_ct(study="1.1", series="1.2", instance="1.3")
    site.post(file)
    site.get("/studies/1.1/series/1.2/instances/1.3/rendered")
    found = told(site.get("http://testserver/metrics").text)
    waited, measures = Waited(), Measures()
    waited.observe("POST", 0.1)
    measures._answers["C-STORE", "0000"] += 1
    measures._ended["released"] += 1
    measures._times["C-STORE"] = [0.0] * 18
    spool = Spool(BridgeSettings(), RemoteArchive(ArchiveSettings()))
    for more in (measures.text(), exposed(waited.families(busy=0, idle=1)), exposed(families(spool))):
        for name, labels in told(more.decode()).items():
            found.setdefault(name, set()).update(labels)
    return found | {JOBS: {"kind", "state"}}


def test_every_metric_of_the_dashboard_is_there(dashboard, live):
    named = {name for one in expressions(dashboard) for name in NAME.findall(one)}
    assert named - live.keys() == set()


def test_labels_are_those_of_their_metrics(dashboard, live):
    for one in expressions(dashboard):
        for name, selectors in SELECTED.findall(one):
            assert set(re.findall(r"(\w+)[=!]~?\"", selectors)) - OUTSIDE <= live[name], one
        names = NAME.findall(one)
        for labels in BY.findall(one):
            asked = {label.strip() for label in labels.split(",")} - OUTSIDE
            assert all(asked <= live[name] for name in names), one


def test_every_family_of_the_service_is_on_the_dashboard(dashboard):
    shown = {name for one in expressions(dashboard) for name in NAME.findall(one)}
    assert {scalar.family for scalar in SCALARS.values()} - shown == set()


def test_panels_are_whole(dashboard):
    assert dashboard["schemaVersion"] >= 39
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["type"] in ("row", "stat", "timeseries")
        for target in panel.get("targets", ()):
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["expr"].count("{") == target["expr"].count("}")


def test_panels_do_not_lie_upon_one_another(dashboard):
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
