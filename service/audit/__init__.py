"""The audit trail: who saw, sent and deleted what, as the events of PS3.15 annex A.5."""
