"""The porter: a process beside the bridge that enters what it receives into the archive on this machine."""
