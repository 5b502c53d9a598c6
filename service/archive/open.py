"""From settings to an archive."""

import logging
import time
from functools import partial

from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.traced import traced_index, traced_store
from service.dicom.errors import IndexUnavailable
from service.index.open import is_nearby as index_is_nearby
from service.index.open import open_index
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.open import is_nearby, open_bucket, open_store

log = logging.getLogger("isthmus.service")

_AGAIN_S = 0.5


def open_archive_in_time(settings: Settings, *, patience_s: float) -> ObjectArchive:
    """As `open_archive`, of an index that may take a while to answer: a database that is being restarted."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return open_archive(settings)
        except IndexUnavailable:
            if time.monotonic() > deadline:
                raise
            log.warning("index=unavailable at the start, waiting for it")
            time.sleep(_AGAIN_S)


def open_archive(settings: Settings) -> ObjectArchive:
    """The archive on the store and index that `settings` name. `SettingError` names a wrong setting."""
    return ObjectArchive(
        traced_store(
            open_store(
                settings.store,
                s3_endpoint=settings.s3_endpoint,
                s3_client=settings.s3_client,
                connections=settings.read_threads + settings.store_threads + settings.write_threads,
                durable=settings.durable,
            )
        ),
        traced_index(
            open_index(
                settings.index,
                connections=settings.index_connections,
                statement_limit_s=settings.statement_s,
            )
        ),
        limits=IntakeLimits(
            header_limit=settings.header_limit,
            batch_instances=settings.batch_instances,
            batch_bytes=settings.batch_bytes,
            largest_bytes=settings.max_instance,
            look_first=settings.durable,  # where no disk is waited for, to write in vain costs less
        ),
        on_duplicate=OnDuplicate(settings.on_duplicate),
        write_threads=settings.write_threads,
        open_bucket=partial(
            open_bucket,
            s3_endpoint=settings.s3_endpoint,
            s3_client=settings.s3_client,
            connections=settings.read_threads,
        ),
        nearby=is_nearby(settings.store) and index_is_nearby(settings.index),
    )
