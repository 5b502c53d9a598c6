"""The programs take what the chart sets, and read in it what the values say."""

import tomllib

import pytest

from bridge.settings import read_settings
from service.settings import Settings
from tests.helm.charts import VALUE_SETS, VARIANTS, environment_of
from tests.tls.authority import Authority

_FILES = {
    "ISTHMUS_PEERS": "peers.toml",
    "ISTHMUS_ARCHIVE_TOKEN_FILE": "file",
    "ISTHMUS_ARCHIVE_CA": "hospital.pem",
    "ISTHMUS_PASSWORDS_FILE": "passwords",
    "ISTHMUS_SHARE_KEY_FILE": "key",
    "ISTHMUS_OIDC_CA": "file",
    "ISTHMUS_TLS_CERT": "pods.crt",
    "ISTHMUS_TLS_KEY": "pods.key",
    "ISTHMUS_DIMSE_TLS_CERT": "pods.crt",
    "ISTHMUS_DIMSE_TLS_KEY": "pods.key",
    "ISTHMUS_DIMSE_TLS_CLIENT_CA": "hospital.pem",
}


@pytest.fixture
def environments(value_set, tmp_path):
    """The containers of a set of values by command, with the environment that they would find."""

    def of(name):
        release = value_set(name)
        for config_map in release.of_kind("ConfigMap"):
            for file, content in config_map["data"].items():
                (tmp_path / file).write_text(content)
        (tmp_path / "file").write_text("x")
        Authority(tmp_path, "hospital").issue("pods")
        (tmp_path / "passwords").write_text(f"alice:$2b$04${'.' * 53}\n")
        (tmp_path / "key").write_text("abcdefghijklmnopqrstuvwxyz0123456789\n")
        for _, _, container in release.containers():
            environ = environment_of(container)
            for secret in container.get("env", []):
                if "valueFrom" in secret and secret["name"] == "ISTHMUS_INDEX":
                    environ["ISTHMUS_INDEX"] = "postgresql://isthmus@database/isthmus"
            for variable, value in environ.items():
                if variable in _FILES:
                    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                    assert value.rpartition("/")[0] in mounts
                    environ[variable] = str(tmp_path / _FILES[variable])
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


def test_the_bridge_signs_in_where_the_service_has_people_sign_in(environments):
    found = dict(environments("embedded, passwords"))
    service, bridge = Settings.from_environment(found["service"]), read_settings(found["bridge"])
    assert service.access.ways == bridge.control.access.ways == ("basic",)
    assert bridge.archive.token_file is not None


def test_the_bridge_in_the_embedded_pod_stores_where_the_service_does(environments):
    found = dict(environments("embedded, passwords"))
    service, own = Settings.from_environment(found["service"]), read_settings(found["bridge"]).own
    assert own is not None
    for name in ("store", "index", "on_duplicate", "header_limit", "max_instance"):
        assert getattr(own, name) == getattr(service, name)
    assert read_settings(dict(environments("s3-postgres"))["bridge"]).own is None


def test_a_service_that_only_its_pod_reaches_has_nobody_sign_in(environments):
    services = [
        Settings.from_environment(environ)
        for container, environ in environments("scaled, tokens")
        if container == "service"
    ]
    assert {(one.host, one.access.ways) for one in services} == {
        ("0.0.0.0", ("basic", "jwt")),
        ("127.0.0.1", ()),
    }
    assert all(one.access.share_key_file for one in services if one.access.asked)


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


def test_rules_become_those_that_the_bridge_reads(rendered, tmp_path):
    when = {"modality": ["CT", "MR"], "attributes": {"StudyDescription": '*"thorax"*'}}
    values = {
        "peers": {"ws": {"ae_title": "WS", "host": "127.0.0.1", "port": 104}},
        "servers": {"cloud": {"url": "https://cloud.example.org/dw", "transfer_syntax": "RLELossless"}},
        "rules": [{"when": when, "to": ["ws", "cloud"], "quiet_s": 60}, {"to": ["ws"], "on": "mpps"}],
    }

    text = rendered(values).named("ConfigMap", "isthmus-peers")["data"]["peers.toml"]
    (tmp_path / "peers.toml").write_text(text)

    assert tomllib.loads(text)["rules"] == values["rules"]
    assert tomllib.loads(text)["servers"] == values["servers"]
    found = read_settings({"ISTHMUS_PEERS": str(tmp_path / "peers.toml")}).peers
    assert [(rule.on, rule.to) for rule in found.rules] == [("instance", ("ws", "cloud")), ("mpps", ("ws",))]


def test_every_bridge_pod_is_made_anew_when_peers_change(rendered):
    def mark(values):
        metadata = rendered(values).of_kind("StatefulSet")[0]["spec"]["template"]["metadata"]
        return metadata["annotations"]["checksum/peers"]

    assert mark({}) != mark({"unknownPeers": {"services": ["echo"]}})


def test_tls_to_the_end(environments):
    found = dict(environments("secure"))

    service = Settings.from_environment(found["service"])
    bridge = read_settings(found["bridge"])

    assert service.tls is not None
    assert bridge.archive.url == "https://127.0.0.1:8080/dicom-web"
    assert bridge.archive.own_certificate is not None
    assert bridge.control.tls is not None
    assert bridge.tls is not None
    assert (bridge.host, bridge.tls.host, bridge.tls.port) == ("127.0.0.1", "0.0.0.0", 2762)
    assert bridge.tls.mutual
    (peer,) = bridge.peers
    assert peer.tls is not None
    assert len(peer.fingerprint) == 1
