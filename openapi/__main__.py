"""`python -m openapi`: write the document that the service serves from openapi.yaml."""

import json
from pathlib import Path

import yaml

SOURCE = Path(__file__).with_name("openapi.yaml")
SERVED = Path(__file__).resolve().parents[1] / "service/web/openapi.json"


def written() -> str:
    """The text of the served document."""
    document = yaml.safe_load(SOURCE.read_text())
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SERVED.write_text(written())
