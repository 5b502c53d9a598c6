"""The bridge's HTTP: peers, echo, store and retrieve jobs, health, and each PACS as DICOMweb."""
