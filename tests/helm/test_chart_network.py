"""Who reaches what."""

import pytest

from service.app import HOUSEKEEPING
from tests.helm.charts import VALUE_SETS, VARIANTS, environment_of

SCALED = ("s3-postgres", "bridge-separate", "tls", "oidc")


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_selectors_find_the_pods_that_they_mean(value_set, name):
    release = value_set(name)
    pods = [
        each["spec"]["template"]
        for each in release.manifests
        if each["kind"] in ("Deployment", "StatefulSet")
    ]
    for service in release.of_kind("Service"):
        found = [
            pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        assert len(found) == 1, service["metadata"]["name"]
        ports = {port["name"] for container in found[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for owner in (*release.of_kind("Deployment"), *release.of_kind("StatefulSet")):
        labels = owner["spec"]["template"]["metadata"]["labels"]
        assert owner["spec"]["selector"]["matchLabels"].items() <= labels.items(), owner["metadata"]["name"]


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_the_metrics_are_asked_for_where_they_are(value_set, name):
    release = value_set(name)
    offered = {port["name"] for service in release.of_kind("Service") for port in service["spec"]["ports"]}
    for monitor in release.of_kind("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint["port"] in offered
            assert endpoint["path"] in {path for _, path, _ in HOUSEKEEPING}


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_every_pod_is_behind_a_policy_with_no_port_too_many(value_set, name):
    release = value_set(name)
    policies = release.of_kind("NetworkPolicy")
    for owner in (*release.of_kind("Deployment"), *release.of_kind("StatefulSet")):
        template = owner["spec"]["template"]
        labels = template["metadata"]["labels"].items()
        own = [each for each in policies if each["spec"]["podSelector"]["matchLabels"].items() <= labels]
        assert len(own) == 1
        rules = own[0]["spec"]["ingress"]
        assert all(rule["from"] and all(rule["from"]) for rule in rules)  # else it lets everybody in
        admitted = [port["port"] for rule in rules for port in rule["ports"]]
        assert sorted(admitted) == sorted(_ports_beyond_the_pod(template["spec"]))
        assert "Ingress" in own[0]["spec"]["policyTypes"]


def _ports_beyond_the_pod(pod):
    """The ports on which something listens beyond the loopback."""
    for container in pod["containers"]:
        environ = environment_of(container)
        if container["name"] == "service" and environ["ISTHMUS_HOST"] == "127.0.0.1":
            continue
        yield from (port["containerPort"] for port in container["ports"])


@pytest.mark.parametrize("name", SCALED)
def test_nobody_but_its_bridge_reaches_the_service_in_a_bridges_pod(value_set, name):
    for where, pod, container in value_set(name).containers():
        beside = {each["name"] for each in pod["containers"]}
        if container["name"] == "service" and "bridge" in beside:
            assert environment_of(container)["ISTHMUS_HOST"] == "127.0.0.1", where
            assert environment_of(container)["ISTHMUS_AUTH"] == "none", where


def test_a_proxy_is_the_only_way_to_the_service_behind_it(value_set):
    release = value_set("oidc")
    assert release.named("Service", "isthmus")["spec"]["ports"][0]["targetPort"] == "proxy"
    for _, _, container in release.containers():
        if container["name"] == "service":
            assert environment_of(container)["ISTHMUS_HOST"] == "127.0.0.1"
            assert environment_of(container)["ISTHMUS_TRUSTED_PROXIES"] == "127.0.0.1"
    assert "--guarded" in release.of_kind("Pod")[0]["spec"]["containers"][0]["args"]


def test_peers_are_seen_at_their_own_addresses(value_set):
    for name in ("s3-postgres", "bridge-separate", "embedded"):
        for service in value_set(name).of_kind("Service"):
            if service["spec"]["type"] in ("LoadBalancer", "NodePort"):
                assert service["spec"]["externalTrafficPolicy"] == "Local"


def test_the_ingress_leads_to_the_service_in_tls(value_set):
    release = value_set("tls")
    ingress = release.named("Ingress", "isthmus")["spec"]
    assert ingress["tls"] == [{"secretName": "pacs-example-org", "hosts": ["pacs.example.org"]}]
    backend = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "isthmus", "port": {"name": "http"}}
    service = release.named("Deployment", "isthmus")["spec"]["template"]["spec"]["containers"][0]
    assert environment_of(service)["ISTHMUS_PUBLIC_URL"] == "https://pacs.example.org/dicom-web"
