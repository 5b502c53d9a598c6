"""What DICOM says: pure values and functions, no I/O, nothing of ours above it."""
