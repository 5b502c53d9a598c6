"""The index: which instances there are, what they say, and where their bytes lie."""
