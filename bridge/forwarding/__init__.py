"""Arriving instances that are sent on by rules: decided, kept in a journal, delivered in the background."""
