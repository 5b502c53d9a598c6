"""Long errands: instances sent to a peer, or fetched from one, while nobody waits for the answer."""
