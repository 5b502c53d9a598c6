"""What is scheduled for modalities, and what they have performed of it: the worklist and MPPS together."""

from bridge.mpps.forwarding import Forwarding
from bridge.mpps.steps import PerformedSteps
from bridge.settings import BridgeSettings
from bridge.state import StateFolder
from bridge.worklist.opening import open_worklist


class Procedures:
    """The worklist, the performed procedure steps, and who passes these on.

    `pushed` are the items that are sent by HTTP, `None` where these are no source of the worklist.
    """

    def __init__(self, settings: BridgeSettings, state: StateFolder) -> None:
        shelf = state.shelf("mpps", most=settings.mpps.kept)
        self.steps = PerformedSteps(settings.mpps, shelf, settings.peers.rules)
        self.worklist, self.pushed = open_worklist(settings.worklist, state, self.steps.performed)
        self._forwarding = Forwarding(self.steps, settings)

    async def start(self) -> None:
        """Read what was kept, and go on with what waits for peers. Raises `StateUnavailable`."""
        await self.steps.start()
        await self.worklist.start()
        self._forwarding.start()

    async def stop(self) -> None:
        """Stop working; what waits for peers stays on disk."""
        await self._forwarding.stop()
        await self.worklist.close()
        await self.steps.stop()
