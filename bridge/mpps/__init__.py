"""Modality Performed Procedure Steps: kept, told by HTTP and to the worklist, passed on to peers."""
