"""Fixtures for the chart's tests."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, NEWEST, VARIANTS, NoRenderer, Release, Renderer, renderer_in


@pytest.fixture(scope="session")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """What renders charts here."""
    try:
        return renderer_in(tmp_path_factory.mktemp("renderer"))
    except NoRenderer as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def value_set(renderer: Renderer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Release]:
    """Renders the chart with one of its own sets of values, or one of the `VARIANTS` of these."""
    folder = tmp_path_factory.mktemp("variants")

    @functools.cache
    def render(name: str, kubernetes: str = NEWEST) -> Release:
        beneath, values = VARIANTS.get(name, (name, {}))
        over = folder / f"{name}.yaml"
        over.write_text(yaml.safe_dump(values))
        return renderer.render([CHART / "ci" / f"{beneath}-values.yaml", over], kubernetes=kubernetes)

    return render


@pytest.fixture
def rendered(renderer: Renderer, tmp_path: Path) -> Callable[..., Release]:
    """Renders the chart with values of the test's own, laid over one of the chart's sets."""

    def render(values: dict[str, Any], *, over: str = "", name: str = "isthmus") -> Release:
        given = tmp_path / "values.yaml"
        given.write_text(yaml.safe_dump(values))
        files = [CHART / "ci" / f"{over}-values.yaml"] if over else []
        return renderer.render([*files, given], name=name)

    return render
