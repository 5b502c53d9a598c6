"""Store and forward: instances that the archive could not take are kept on disk, and sent on when it can."""
