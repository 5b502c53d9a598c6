"""A DIMSE PACS presented as DICOMweb: searched by C-FIND, read by C-GET or C-MOVE, stored into by C-STORE."""
