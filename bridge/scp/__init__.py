"""What the bridge serves to DIMSE peers: a listener, and one module per service."""
