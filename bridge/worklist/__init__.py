"""The modality worklist: where scheduled procedure steps come from, and what has become of them."""
