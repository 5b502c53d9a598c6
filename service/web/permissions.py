"""What each transaction takes: the scope that whoever asks for it has to have, by its name.

Every transaction has its row: one without would be nobody's to ask for, and the service does not start.
"""

from collections.abc import Mapping

from service.access.identity import DELETE, READ, RENDER, STORE

SIGNED_IN = ""
"""Takes no more than having signed in."""

NEEDED: Mapping[str, str | None] = {
    # Search, PS3.18 10.6
    "SearchForStudies": READ,
    "SearchForSeries": READ,
    "SearchForInstances": READ,
    "SearchForStudySeries": READ,
    "SearchForStudyInstances": READ,
    "SearchForStudySeriesInstances": READ,
    # Retrieve, PS3.18 10.4 and chapter 9
    "RetrieveStudy": READ,
    "RetrieveSeries": READ,
    "RetrieveInstance": READ,
    "RetrieveStudyMetadata": READ,
    "RetrieveSeriesMetadata": READ,
    "RetrieveInstanceMetadata": READ,
    "RetrieveFrames": READ,
    "RetrieveAllFrames": READ,
    "RetrieveBulkdata": READ,
    "RetrieveBulk": READ,
    "RetrieveInstanceBulkdata": READ,
    "RetrieveSeriesBulkdata": READ,
    "RetrieveStudyBulkdata": READ,
    "RetrieveInstancePixelData": READ,
    "RetrieveSeriesPixelData": READ,
    "RetrieveStudyPixelData": READ,
    "RetrieveInstanceByURI": READ,
    "RetrieveInstanceByURIOfTheRoot": READ,
    "RetrieveFindings": READ,
    # Pictures, PS3.18 10.4.1.1.3 and 10.4.1.1.4
    "RetrieveRenderedStudy": RENDER,
    "RetrieveRenderedSeries": RENDER,
    "RetrieveRenderedInstance": RENDER,
    "RetrieveRenderedFrames": RENDER,
    "RetrieveStudyThumbnail": RENDER,
    "RetrieveSeriesThumbnail": RENDER,
    "RetrieveInstanceThumbnail": RENDER,
    "RetrieveFramesThumbnail": RENDER,
    # Store, PS3.18 10.5, and its opposite
    "StoreInstances": STORE,
    "StoreStudyInstances": STORE,
    "DeleteStudy": DELETE,
    "DeleteSeries": DELETE,
    "DeleteInstance": DELETE,
    # A link that lives long takes SHARE, see web/shares.py.
    "ShareStudy": READ,
    "RetrieveIdentity": SIGNED_IN,
    # What holds nothing of patients is for everybody.
    "RetrieveCapabilities": None,
    "RetrieveDescription": None,
    "RetrieveDescriptionPage": None,
    "RetrievePage": None,
    "RetrievePageFile": None,
    "RetrieveConfiguration": None,
    "Alive": None,
    "Ready": None,
    "Metrics": None,
}
