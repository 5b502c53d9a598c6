"""The DICOMweb server behind the bridge: storing into it, searching it, retrieving from it."""
