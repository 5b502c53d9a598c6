"""The chart, rendered: by helm, else by its template language and `render.go`."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "isthmus"
VALUE_SETS = tuple(sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*.yaml")))
OLDEST, NEWEST = "1.30", "1.37"

_MORE: dict[str, Any] = {
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "old-studies", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "old-studies", "mountPath": "/studies", "readOnly": True}],
}
_PROXY = {"mode": "none", "proxy": {"enabled": True, "image": "proxy:1"}}
_PASSWORDS = {
    "auth": {"mode": "basic", "passwordsSecret": {"name": "people", "key": "passwords"}},
    "bridge": {"archive": {"tokenSecret": {"name": "login", "key": "token"}}, "http": {"exposed": True}},
}
_TOKENS = {
    "auth": {
        "mode": "basic,jwt",
        "passwordsSecret": {"name": "people", "key": "passwords"},
        "shareKeySecret": {"name": "links", "key": "key"},
        "oidc": {
            "issuer": "https://login.example.org/realms/hospital",
            "audience": "isthmus",
            "clientId": "page",
            "scope": "openid profile",
            "scopePrefix": "dicom:",
            "studiesClaim": "studies",
            "patientsClaim": "patients",
            "ca": {"configMap": "issuer", "key": "ca.crt"},
        },
    }
}
# Less usual ways to have the chart: by name, the set of values beneath and what is laid over it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "embedded, no bridge": ("embedded", {"bridge": {"enabled": False}}),
    "embedded, proxy": ("embedded", {"auth": _PROXY, "bridge": {"volume": {"existingClaim": "x"}}}),
    "embedded, claim": ("embedded", {"storage": {"volume": {"existingClaim": "x"}}, **_MORE}),
    "embedded, bridge's http": ("embedded", {"bridge": {"http": {"exposed": True}}}),
    "embedded, passwords": ("embedded", _PASSWORDS),
    "scaled, tokens": ("s3-postgres", _TOKENS),
    "scaled, no bridge": ("s3-postgres", {"bridge": {"enabled": False}, **_MORE}),
    "scaled, bridge elsewhere": ("tls", {"bridge": {"archive": {"url": "https://a.example.org/dw"}}}),
    "scaled, nobody but the ingress": ("tls", {"networkPolicy": {"httpFrom": [], "dimseFrom": []}}),
    "bridge only, all": ("bridge-only", {"bridge": {"http": {"exposed": True}}, **_MORE}),
}

_PACKAGES = "golang-go golang-github-masterminds-sprig-dev golang-github-ghodss-yaml-dev"
_DEBIAN_GO = Path("/usr/share/gocode")
_BUILD_S = 110

Manifest = dict[str, Any]


class NoRenderer(Exception):
    """Nothing here renders charts; the message says what would."""


class ChartRefused(Exception):
    """The chart does not go with these values; the message is the chart's."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a chart and some values become."""

    manifests: tuple[Manifest, ...]
    notes: str

    def of_kind(self, kind: str) -> list[Manifest]:
        """All of one kind."""
        return [each for each in self.manifests if each["kind"] == kind]

    def named(self, kind: str, name: str) -> Manifest:
        """The one of that kind and name."""
        found = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} × {kind} {name}"
        return found[0]

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """The name and the specification of each kind of pod, that of the test too."""
        for each in self.manifests:
            if each["kind"] in ("Deployment", "StatefulSet"):
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]
            elif each["kind"] == "Pod":
                yield each["metadata"]["name"], each["spec"]

    def containers(self) -> Iterator[tuple[str, Manifest, Manifest]]:
        """The pod's name and specification with each of its containers."""
        for name, pod in self.pods():
            for container in pod["containers"]:
                yield name, pod, container


@dataclass(frozen=True, slots=True)
class Renderer:
    """A program that renders charts; `helm` says whether it is the real one."""

    program: Path
    helm: bool

    def render(self, values: Sequence[Path], *, name: str = "isthmus", kubernetes: str = NEWEST) -> Release:
        """The chart with these files of values; `ChartRefused`."""
        files = [str(path) for path in values]
        if self.helm:
            options = [option for path in files for option in ("--values", path)]
            place = ["--namespace", "pacs", "--kube-version", f"{kubernetes}.0"]
            command = [str(self.program), "template", name, str(CHART), *place, *options]
        else:
            command = [str(self.program), str(CHART), "pacs", name, kubernetes, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise ChartRefused(done.stderr.strip())
        manifests = tuple(each for each in yaml.safe_load_all(done.stdout) if each)
        return Release(manifests, "" if self.helm else done.stderr)


def renderer_in(folder: Path) -> Renderer:
    """What renders charts here; a program that has to be built is built in `folder`. `NoRenderer`."""
    helm = shutil.which("helm")
    if helm is not None:
        return Renderer(Path(helm), helm=True)
    go = shutil.which("go") or next((str(path) for path in Path("/usr/lib").glob("go-*/bin/go")), None)
    if go is None or not (_DEBIAN_GO / "src/github.com/Masterminds/sprig").is_dir():
        raise NoRenderer(f"There is neither helm nor what renders charts without it (Debian: {_PACKAGES}).")
    source = folder / "src" / "render"
    source.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("render.go"), source / "main.go")
    environ = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{folder}:{_DEBIAN_GO}",
        "GOFLAGS": "",
        "GOCACHE": os.environ.get("GOCACHE", str(Path.home() / ".cache" / "go-build")),
    }
    program = folder / "render"
    command = [go, "build", "-o", str(program), "./src/render"]
    subprocess.run(command, cwd=folder, env=environ, check=True, timeout=_BUILD_S)
    return Renderer(program, helm=False)


def default_values() -> dict[str, Any]:
    """The chart's own values."""
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def laid_over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Values with others laid over them, as Helm does: tables are merged."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            laid_over(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
        )
    return merged


def environment_of(container: Manifest) -> dict[str, str]:
    """The environment variables that are written out."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
