"""What is deployed, and what scales."""

import pytest

from tests.helm.charts import VALUE_SETS, VARIANTS, environment_of


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_the_autoscaler_never_has_a_bridge(value_set, name):
    release = value_set(name)
    deployments = {each["metadata"]["name"] for each in release.of_kind("Deployment")}
    for scaler in release.of_kind("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["kind"] == "Deployment"
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
    for deployment in release.of_kind("Deployment"):
        containers = deployment["spec"]["template"]["spec"]["containers"]
        assert "bridge" not in {container["name"] for container in containers}
    assert all(each["spec"]["replicas"] == 1 for each in release.of_kind("StatefulSet"))


def test_the_autoscaler_decides_alone_how_many_pods_there_are(value_set):
    assert "replicas" not in value_set("s3-postgres").named("Deployment", "isthmus")["spec"]
    assert value_set("tls").named("Deployment", "isthmus")["spec"]["replicas"] == 2


def test_every_bridge_has_titles_and_an_address_of_its_own(value_set):
    release = value_set("s3-postgres")
    titles = []
    for stateful in release.of_kind("StatefulSet"):
        labels = stateful["spec"]["template"]["metadata"]["labels"]
        own = [
            service["metadata"]["name"]
            for service in release.of_kind("Service")
            if service["spec"]["selector"].items() <= labels.items()
        ]
        assert own == [stateful["metadata"]["name"], f"{stateful['metadata']['name']}-http"]
        bridge = next(
            each for each in stateful["spec"]["template"]["spec"]["containers"] if each["name"] == "bridge"
        )
        titles += [environment_of(bridge)[f"ISTHMUS_{which}AE_TITLE"] for which in ("", "INBOX_")]
    assert titles == ["ISTHMUS", "ISTHMUS_IN", "ISTHMUS_CARDIO", "CARDIO_IN"]


def test_where_data_are_kept_decides_what_is_deployed(value_set):
    kinds = {
        name: sorted({each["kind"] for each in value_set(name).manifests} & {"Deployment", "StatefulSet"})
        for name in VALUE_SETS
    }
    assert kinds.pop("embedded") == ["StatefulSet"]
    assert kinds.pop("bridge-only") == ["StatefulSet"]
    assert set(map(tuple, kinds.values())) == {("Deployment", "StatefulSet")}


def test_the_embedded_pod_is_alone(value_set):
    release = value_set("embedded")
    assert [each["metadata"]["name"] for each in release.of_kind("StatefulSet")] == ["isthmus"]
    assert release.of_kind("HorizontalPodAutoscaler") == release.of_kind("PodDisruptionBudget") == []
    containers = release.named("StatefulSet", "isthmus")["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["service", "bridge"]


def test_what_was_stored_outlives_the_release(value_set):
    for name in VALUE_SETS:
        for each in value_set(name).of_kind("StatefulSet"):
            kept = each["spec"]["persistentVolumeClaimRetentionPolicy"]
            assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_a_budget_never_stops_the_last_pod_from_being_moved(value_set):
    budget = value_set("s3-postgres").named("PodDisruptionBudget", "isthmus")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == "service"
