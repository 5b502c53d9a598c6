"""The sources of the worklist as the setting names them, opened."""

from pathlib import Path

from bridge.state import StateFolder
from bridge.worklist.files import Files
from bridge.worklist.locations import PUSHED, Kind, Location
from bridge.worklist.pushed import Pushed
from bridge.worklist.settings import WorklistSettings
from bridge.worklist.sources import Source
from bridge.worklist.worklist import Performed, Worklist


def open_worklist(
    settings: WorklistSettings, state: StateFolder, performed: Performed
) -> tuple[Worklist, Pushed | None]:
    """The worklist, and its items that are pushed where they are a source of it; to be started."""
    pushed: Pushed | None = None
    if PUSHED in settings.sources:
        pushed = Pushed(state.shelf("worklist", most=Pushed.records(settings)), settings)
    sources = [_source(location, settings, pushed) for location in settings.sources]
    return Worklist(sources, performed, hide_done=settings.hide_done), pushed


def _source(location: Location, settings: WorklistSettings, pushed: Pushed | None) -> Source:
    if location.kind is Kind.PUSHED and pushed is not None:
        return pushed
    if location.kind is Kind.FILES:
        return Files(Path(location.place), settings)
    from bridge.worklist.views import View  # the drivers are loaded where there is a database only

    return View(location, settings)
