"""What pods are allowed, how they are probed, and how they end."""

import re

import pytest
import yaml

from service.app import HOUSEKEEPING
from tests.helm.charts import ROOT, VALUE_SETS, VARIANTS, environment_of


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_every_container_keeps_to_the_restricted_profile(value_set, name):
    # Kubernetes, Pod Security Standards, "Restricted".
    for where, pod, container in value_set(name).containers():
        assert pod["securityContext"]["runAsNonRoot"] is True, where
        assert pod["securityContext"]["runAsUser"] == 10001, where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False, where
        assert own["readOnlyRootFilesystem"] is True, where
        assert own["capabilities"] == {"drop": ["ALL"]}, where
        assert not any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_pod_gets_a_token_or_variables_of_services(value_set, name):
    # Those of a Service named isthmus would be ISTHMUS_PORT=tcp://…, which no program could read.
    for where, pod in value_set(name).pods():
        assert pod["automountServiceAccountToken"] is False, where
        assert pod["enableServiceLinks"] is False, where


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_every_container_says_what_it_takes(value_set, name):
    for where, _, container in value_set(name).containers():
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), where
        assert "memory" in container["resources"]["limits"], where


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_what_is_written_to_is_a_volume(value_set, name):
    for where, _, container in value_set(name).containers():
        if container["name"] not in ("service", "bridge"):
            continue
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        environ = environment_of(container)
        assert "/tmp" in mounts, where
        if any(value.startswith(("file:///data/", "sqlite:///data/")) for value in environ.values()):
            assert "/data" in mounts, where
        if "ISTHMUS_BRIDGE_STATE" in environ:
            assert environ["ISTHMUS_BRIDGE_STATE"].startswith("/data/")
            assert "/data" in mounts


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_every_mount_has_its_volume(value_set, name):
    release = value_set(name)
    claims = {
        each["metadata"]["name"]: [
            claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])
        ]
        for each in release.of_kind("StatefulSet")
    }
    for where, pod, container in release.containers():
        volumes = [volume["name"] for volume in pod["volumes"]] + claims.get(where, [])
        assert len(volumes) == len(set(volumes)), where
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes), where


@pytest.mark.parametrize("name", VALUE_SETS)
def test_secrets_are_named_and_never_written(value_set, name):
    for where, _, container in value_set(name).containers():
        for variable in container.get("env", []):
            if re.search("PASSWORD|SECRET|ACCESS_KEY|TOKEN$", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], where
            assert not re.search(r"://[^/@]*:[^/@]*@", variable.get("value", "")), where
    assert value_set(name).of_kind("Secret") == []


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_probes_ask_what_the_programs_answer(value_set, name):
    answered = {path for method, path, _ in HOUSEKEEPING if method == "GET"}
    for where, _, container in value_set(name).containers():
        if container["name"] != "service":
            continue
        for kind, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
            probe = container[f"{kind}Probe"]
            environ = environment_of(container)
            if "exec" in probe:
                scheme = "https" if "ISTHMUS_TLS_CERT" in environ else "http"
                url = f"{scheme}://127.0.0.1:{environ['ISTHMUS_PORT']}{path}"
                assert probe["exec"]["command"] == ["isthmus", "health", url], where
                assert environ["ISTHMUS_HOST"] == "127.0.0.1"
            else:
                over_tls = {"scheme": "HTTPS"} if "ISTHMUS_TLS_CERT" in environ else {}
                assert probe["httpGet"] == {"path": path, "port": "http", **over_tls}, where
                assert environ["ISTHMUS_HOST"] == "0.0.0.0"
            assert path in answered


@pytest.mark.parametrize("name", VALUE_SETS)
def test_bridges_are_probed_where_they_listen(value_set, name):
    for where, _, container in value_set(name).containers():
        if container["name"] == "bridge":
            # What listens on the loopback is not reached from outside of the pod.
            inside = environment_of(container)["ISTHMUS_DIMSE_HOST"] == "127.0.0.1"
            for kind in ("startup", "liveness", "readiness"):
                port = "dimse-tls" if inside else "dimse"
                assert container[f"{kind}Probe"]["tcpSocket"] == {"port": port}, where


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_ports_are_those_of_the_settings(value_set, name):
    names = {"service": {"http": "ISTHMUS_PORT"}, "bridge": {"dimse": "ISTHMUS_DIMSE_PORT"}}
    names["bridge"] |= {"bridge-http": "ISTHMUS_BRIDGE_PORT", "dimse-tls": "ISTHMUS_DIMSE_TLS_PORT"}
    for where, _, container in value_set(name).containers():
        for port in container.get("ports", []):
            if container["name"] in names:
                told = environment_of(container)[names[container["name"]][port["name"]]]
                assert told == str(port["containerPort"]), where


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_a_pod_has_the_time_to_drain(value_set, name):
    for where, pod in value_set(name).pods():
        of = {container["name"]: container for container in pod["containers"]}
        if "test" in of:
            continue
        drains = {
            each: int(environment_of(of[each])["ISTHMUS_DRAIN_S"])
            for each in ("service", "bridge")
            if each in of
        }
        waits = 0
        if "service" in of:
            hook = of["service"]["lifecycle"]["preStop"]
            waits = hook["sleep"]["seconds"] if "sleep" in hook else int(hook["exec"]["command"][3])
            # The service goes on until the bridge beside it has ended.
            assert ("exec" in hook) == ("bridge" in of), where
            assert "bridge" not in of or waits > drains["bridge"], where
        longest = max(waits + drains.get("service", 0), drains.get("bridge", 0))
        # Each program takes up to two seconds more to end what it has cut off.
        assert pod["terminationGracePeriodSeconds"] >= longest + 2, where


def test_bridges_stop_before_the_services_beside_them_only(value_set):
    for _, _, container in value_set("s3-postgres").containers():
        assert container["name"] != "bridge" or "lifecycle" not in container


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_commands_are_in_the_image(value_set, name):
    subcommands = set(re.findall(r'add_parser\(\s*"(\w+)"', (ROOT / "service/__main__.py").read_text()))
    # util-linux, which has flock, is in every Debian; python is that of the image's own environment.
    programs = {"isthmus", "python", "flock"}
    for where, _, container in value_set(name).containers():
        if container["name"] not in ("service", "bridge", "test"):
            continue
        found = yaml.safe_dump(container)
        commands = [container["command"]] if "command" in container else [["isthmus", *container["args"]]]
        commands += [
            probe["exec"]["command"] for key, probe in container.items() if "Probe" in key and "exec" in probe
        ]
        hook = container.get("lifecycle", {}).get("preStop", {})
        commands += [hook["exec"]["command"]] if "exec" in hook else []
        for command in commands:
            assert command[0] in programs, (where, found)
            assert command[0] != "isthmus" or command[1] in subcommands, (where, command)


def test_the_image_and_the_chart_agree_on_who_runs(value_set):
    dockerfile = ROOT / "Dockerfile"
    if not dockerfile.exists():
        pytest.skip("There is no Dockerfile beside the chart.")
    told = dockerfile.read_text()
    assert re.search(r"^USER 10001\b", told, re.MULTILINE)
    assert 'ENTRYPOINT ["isthmus"]' in told
    assert re.search(r"^ARG BASE=\S*slim", told, re.MULTILINE)  # a Debian: it has flock
