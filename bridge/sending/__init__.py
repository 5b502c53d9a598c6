"""Instances on their way from the archive to a peer: planned, fetched ahead, sent, counted."""
