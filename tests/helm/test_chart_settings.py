"""The programs take what the chart sets, and read in it what the values say."""

import tomllib

import pytest

from bridge.settings import read_settings
from service.settings import Settings
from tests.helm.charts import VALUE_SETS, VARIANTS, environment_of


@pytest.fixture
def environments(value_set, tmp_path):
    """The containers of a set of values by command, with the environment that they would find."""

    def of(name):
        release = value_set(name)
        for config_map in release.of_kind("ConfigMap"):
            for file, content in config_map["data"].items():
                (tmp_path / file).write_text(content)
        (tmp_path / "file").write_text("x")
        for _, _, container in release.containers():
            environ = environment_of(container)
            for secret in container.get("env", []):
                if "valueFrom" in secret and secret["name"] == "ISTHMUS_INDEX":
                    environ["ISTHMUS_INDEX"] = "postgresql://isthmus@database/isthmus"
            for variable, value in environ.items():
                if variable in ("ISTHMUS_PEERS", "ISTHMUS_ARCHIVE_TOKEN_FILE", "ISTHMUS_ARCHIVE_CA"):
                    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                    assert value.rpartition("/")[0] in mounts
                    environ[variable] = str(tmp_path / ("peers.toml" if "PEERS" in variable else "file"))
            yield container["name"], environ

    return of


@pytest.mark.parametrize("name", [*VALUE_SETS, *VARIANTS])
def test_the_programs_take_what_the_chart_sets(environments, name):
    taken = []
    for container, environ in environments(name):
        if container == "service":
            settings = Settings.from_environment(environ)
            assert settings.store.startswith(("s3://", "file:///data/"))
            taken.append(container)
        elif container == "bridge":
            assert read_settings(environ).state.is_relative_to("/data")
            taken.append(container)
    assert taken


def test_values_become_the_settings_that_they_are_named_for(environments):
    found = dict(environments("s3-postgres"))

    service = Settings.from_environment(found["service"])
    bridge = read_settings(found["bridge"])

    assert service.max_results == 20_000_000
    assert service.header_limit == 64 << 20
    assert service.on_duplicate == "keep"
    assert service.cors == ("https://viewer.example.org",)
    assert [str(network) for network in service.trusted_proxies] == ["10.0.0.0/8"]
    assert bridge.limits.associations == 512
    assert bridge.limits.associations_per_caller == 128


def test_peers_become_the_file_that_the_bridge_reads(value_set, environments):
    found = dict(environments("s3-postgres"))
    peers = {peer.name: peer for peer in read_settings(found["bridge"]).peers}

    assert set(peers) == {"ct", "workstation"}
    assert (peers["ct"].ae_title, peers["ct"].port, peers["ct"].max_pdu) == ("CT1", 11112, 32768)
    assert (peers["ct"].timeout_s, peers["ct"].strict, peers["ct"].transcode) == (2.5, True, False)
    assert not read_settings(found["bridge"]).peers.allows("STRANGER", "192.0.2.1", "store")


def test_names_of_peers_may_hold_whatever_helm_takes(rendered):
    odd = 'ct "1" \\ <&> ä\n]'
    peer = {"ae_title": 'A"B<', "host": "ct1", "port": 104}

    release = rendered({"peers": {odd: peer}})

    told = tomllib.loads(release.named("ConfigMap", "isthmus-peers")["data"]["peers.toml"])
    assert told == {"peers": {odd: peer}}


def test_every_bridge_pod_is_made_anew_when_peers_change(rendered):
    def mark(values):
        metadata = rendered(values).of_kind("StatefulSet")[0]["spec"]["template"]["metadata"]
        return metadata["annotations"]["checksum/peers"]

    assert mark({}) != mark({"unknownPeers": {"services": ["echo"]}})
