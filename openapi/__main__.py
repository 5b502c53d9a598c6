"""`python -m openapi`: write the documents that are served from openapi.yaml and bridge.yaml."""

import json
from pathlib import Path

import yaml

SOURCE = Path(__file__).with_name("openapi.yaml")
SERVED = Path(__file__).resolve().parents[1] / "service/web/openapi.json"
BRIDGE_SOURCE = Path(__file__).with_name("bridge.yaml")
BRIDGE_SERVED = Path(__file__).resolve().parents[1] / "bridge/control/openapi.json"


def written(source: Path = SOURCE) -> str:
    """The text of the served document."""
    document = yaml.safe_load(source.read_text())
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SERVED.write_text(written())
    BRIDGE_SERVED.write_text(written(BRIDGE_SOURCE))
