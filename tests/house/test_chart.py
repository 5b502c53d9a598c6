"""Every setting can be reached from the chart's values, and the chart sets nothing else."""

import ast
import functools
import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "isthmus"

_SETTING = re.compile(r"ISTHMUS_[A-Z0-9_]+")


@functools.cache
def settings_read():
    """What the programs read: the names that follow `environ` among the arguments of a call."""
    return {
        name.value
        for folder in ("service", "bridge")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and len(node.args) > 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == "environ"
        and isinstance(name := node.args[1], ast.Constant)
        and isinstance(name.value, str)
        and _SETTING.fullmatch(name.value)
    }


def settings_in_the_chart():
    return {
        name
        for path in (CHART / "templates").rglob("*")
        if path.is_file()
        for name in _SETTING.findall(path.read_text())
    }


def test_every_setting_can_be_reached_from_values():
    missing = settings_read() - settings_in_the_chart()
    assert missing == set(), (
        "Each needs its line in helm/isthmus/templates/_settings.tpl, its value in values.yaml and its type "
        "in values.schema.json."
    )


def test_the_chart_sets_nothing_that_nobody_reads():
    assert settings_in_the_chart() - settings_read() == set()


def test_the_schema_knows_the_keys_of_a_peer():
    schema = (CHART / "values.schema.json").read_text()
    told = set(json.loads(schema)["$defs"]["peer"]["properties"])
    readers = [
        node
        for path in ("bridge/peers.py", "bridge/tls.py")
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef) and node.name in ("_peer", "read_trust", "read_fingerprints")
    ]
    asked = {
        node.args[0].value
        for reader in readers
        for node in ast.walk(reader)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "table"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert asked == told


def test_every_value_has_its_place_in_the_schema():
    assert (
        unspoken(
            yaml.safe_load((CHART / "values.yaml").read_text()),
            json.loads((CHART / "values.schema.json").read_text()),
        )
        == []
    )


def unspoken(values, schema, path=""):
    """The values that a schema says nothing of, and what it speaks of that is no value."""
    known = schema.get("properties", {})
    found = [f"{path}{key}" for key in values if key not in known]
    for key, value in values.items():
        if isinstance(value, dict) and "properties" in known.get(key, {}):
            found += unspoken(value, known[key], f"{path}{key}.")
    unsaid = (f"{path}{key}" for key in known if key not in values)
    return found + [
        f"{key} has no default" for key in unsaid if key not in ("global", "unknownPeers.services")
    ]


def test_the_charts_version_is_the_products():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = next(
        line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version")
    )
    assert told == f'version = "{chart["appVersion"]}"' == f'version = "{chart["version"]}"'
    assert chart["kubeVersion"] == ">=1.30.0-0"
