"""Storage commitment: what was asked, what is durable, and how the peer is told."""
