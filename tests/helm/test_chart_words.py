"""What the chart says: refusals, notes and documentation."""

import re

import pytest
import yaml

from tests.helm.charts import CHART, ROOT, VALUE_SETS, ChartRefused


@pytest.mark.parametrize("name", [*VALUE_SETS, ""])
def test_the_notes_say_who_may_use_it(renderer, value_set, rendered, name):
    if renderer.helm:
        pytest.skip("helm template does not print the notes.")
    notes = (value_set(name) if name else rendered({})).notes
    if name == "oidc":
        assert "whom the proxy" in notes
    elif name != "bridge-only":
        assert "everybody who reaches it" in notes
        assert "network policies" in notes
    assert "helm -n pacs test isthmus" in notes


@pytest.mark.parametrize(
    ("over", "values", "told"),
    [
        ("embedded", {"networkPolicy": {"enabled": False}}, "networkPolicy.enabled is false"),
        ("embedded", {"auth": {"mode": "none"}}, "auth.mode is 'none'"),
        ("embedded", {"autoscaling": {"enabled": True}}, "autoscaling.enabled needs"),
        ("embedded", {"bridge": {"ownService": False}}, "the embedded pod's bridge"),
        (
            "embedded",
            {"bridge": {"applicationEntities": [{"title": "A"}, {"title": "B"}]}},
            "several bridge.applicationEntities",
        ),
        ("tls", {"bridge": {"applicationEntities": [{"title": "A"}, {"title": "a"}]}}, "two"),
        ("tls", {"bridge": {"applicationEntities": [{"title": "A B"}, {"title": "A_B"}]}}, "must differ"),
        (
            "tls",
            {"bridge": {"applicationEntities": [{"title": "A"}, {"title": "A_IN"}]}},
            "inboxTitle of two",
        ),
        ("tls", {"bridge": {"applicationEntities": [{"title": "__"}]}}, "a letter or digit"),
        ("tls", {"index": {"url": "postgresql://isthmus:geheim@database/isthmus"}}, "has a password"),
        ("tls", {"index": {"url": "postgresql://database/isthmus?password=geheim"}}, "has a password"),
        ("tls", {"bridge": {"port": 8080}}, "must differ"),
        ("oidc", {"auth": {"proxy": {"image": ""}}}, "auth.proxy.image"),
        (
            "oidc",
            {"auth": {"mode": "basic", "passwordsSecret": {"name": "a", "key": "b"}}},
            "auth.mode is none",
        ),
        ("tls", {"auth": {"mode": "basic"}}, "auth.passwordsSecret"),
        ("tls", {"auth": {"mode": "jwt"}}, "auth.oidc.issuer"),
        ("tls", {"auth": {"mode": "jwt", "oidc": {"issuer": "https://a.example.org"}}}, "audience"),
        (
            "embedded",
            {"auth": {"mode": "basic", "passwordsSecret": {"name": "a", "key": "b"}}},
            "bridge.archive.tokenSecret",
        ),
        ("oidc", {"bridge": {"ownService": False}}, "bridge.archive.tokenSecret"),
        ("oidc", {"bridge": {"http": {"exposed": True}}}, "bridge.http.exposed needs"),
        (
            "bridge-only",
            {"networkPolicy": {"enabled": False}, "bridge": {"http": {"exposed": True}}},
            "whoever reaches the bridge",
        ),
        ("bridge-only", {"bridge": {"archive": {"url": ""}}}, "must name the DICOMweb server"),
        ("bridge-only", {"bridge": {"enabled": False}}, "nothing to deploy"),
        ("bridge-only", {"ingress": {"enabled": True, "hosts": ["a.example.org"]}}, "needs service.enabled"),
    ],
)
def test_values_that_do_not_go_together_are_refused(rendered, over, values, told):
    with pytest.raises(ChartRefused, match=re.escape(told)) as refused:
        rendered(values, over=over)
    assert "geheim" not in str(refused.value)


def test_no_value_is_missing_from_the_documentation():
    documented = (ROOT / "docs/helm.md").read_text()
    tables = yaml.safe_load((CHART / "values.yaml").read_text())
    plain = ("nameOverride", "fullnameOverride")
    assert [name for name in tables if f"`{name}" not in documented and name not in plain] == []
