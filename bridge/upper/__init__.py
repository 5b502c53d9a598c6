"""The DICOM upper layer (PS3.8) and the message exchange on it (PS3.7), on one asyncio loop."""
