"""The chart's values keep to its schema, and what is rendered keeps to Kubernetes' schemas."""

import json
import subprocess

import pytest
import yaml

from tests.helm.charts import CHART, NEWEST, OLDEST, VALUE_SETS, VARIANTS, default_values, laid_over

_LINT = """
extends: default
rules:
  document-start: disable
  line-length: {max: 110}
  comments: {min-spaces-from-content: 1}
  braces: {max-spaces-inside: 0}
"""


def own_values(name):
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())


def complaints(values):
    """What the schema says against `values`."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(values)]


def test_the_default_values_keep_to_the_schema():
    assert complaints(default_values()) == []


@pytest.mark.parametrize("name", VALUE_SETS)
def test_each_set_of_values_keeps_to_the_schema(name):
    assert complaints(laid_over(default_values(), own_values(name))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"servise": {}},
        {"service": {"replica": 2}},
        {"service": {"port": 80}},
        {"service": {"onDuplicate": "overwrite"}},
        {"service": {"limits": {"body": "64 giga"}}},
        {"storage": {"url": "/srv/objects"}},
        {"storage": {"url": "file:///srv/objects"}},
        {"index": {"url": "mysql://host/name"}},
        {"index": {"connections": 1}},
        {"auth": {"mode": "digest"}},
        {"bridge": {"applicationEntities": []}},
        {"bridge": {"applicationEntities": [{"title": "SEVENTEEN_LETTERS"}]}},
        {"bridge": {"applicationEntities": [{"title": "BACK\\SLASH"}]}},
        {"peers": {"ct": {"ae_title": "CT1", "host": "ct1"}}},
        {"peers": {"ct": {"ae_title": "CT1", "host": "ct1", "port": 104, "tls": "yes"}}},
        {"unknownPeers": {"services": ["print"]}},
        {"ingress": {"enabled": True, "hosts": []}},
        {"networkPolicy": {"httpFrom": [{}]}},
        {"extraEnv": [{"value": "nameless"}]},
    ],
    ids=json.dumps,
)
def test_values_that_mean_nothing_are_refused_by_the_schema(wrong):
    assert complaints(laid_over(default_values(), wrong)) != []


@pytest.mark.parametrize(
    "path", ["Chart.yaml", "values.yaml", *(f"ci/{name}-values.yaml" for name in VALUE_SETS)]
)
def test_the_files_are_tidy_yaml(path):
    config = pytest.importorskip("yamllint.config", reason="yamllint is not installed")
    linter = pytest.importorskip("yamllint.linter", reason="yamllint is not installed")
    text = (CHART / path).read_text()

    found = linter.run(text, config.YamlLintConfig(_LINT))

    assert [str(problem) for problem in found] == []


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_kubernetes_takes_what_is_rendered(value_set, name, kubernetes):
    validating = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

    release = value_set(name, kubernetes)

    assert release.manifests
    for manifest in release.manifests:
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):  # no part of Kubernetes
            assert validating.validate(manifest, kubernetes, strict=True) == kubernetes


def test_kubernetes_takes_what_the_default_values_become(rendered):
    validating = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in rendered({}).manifests:
        validating.validate(manifest, NEWEST, strict=True)


def test_no_two_objects_share_a_name(value_set):
    for name in VALUE_SETS:
        named = [(each["kind"], each["metadata"]["name"]) for each in value_set(name).manifests]
        assert len(named) == len(set(named)), name


def test_names_stay_within_what_kubernetes_allows(rendered):
    release = rendered(
        {"bridge": {"applicationEntities": [{"title": "A LONG AE TITLE_"}], "http": {"exposed": True}}},
        over="s3-postgres",
        name="a-release-whose-name-takes-every-character-there-is",
    )

    # A StatefulSet's name becomes part of a label of 63 characters, with a hyphen and a hash of ten.
    assert all(len(each["metadata"]["name"]) <= 52 for each in release.of_kind("StatefulSet"))
    assert all(len(each["metadata"]["name"]) <= 63 for each in release.of_kind("Service"))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_helm_finds_nothing_to_lint(renderer, name):
    if not renderer.helm:
        pytest.skip("helm is not installed")
    values = CHART / "ci" / f"{name}-values.yaml"
    command = [str(renderer.program), "lint", "--strict", str(CHART), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
