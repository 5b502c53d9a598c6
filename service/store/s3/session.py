"""Who we are toward S3 and where it is: credentials, region, endpoint and bucket, by boto3."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from service.environment import SettingError
from service.store.s3.options import S3Options

if TYPE_CHECKING:
    from obstore.store import S3Credential

_DEFAULT_REGION = "us-east-1"
# obstore asks again five minutes before this is over. boto3 renews what expires at the latest ten minutes
# before, so that what it gives lasts longer than it is kept.
_KEPT = timedelta(minutes=9)
_log = logging.getLogger("isthmus.store")
logging.getLogger("botocore").setLevel(logging.WARNING)  # each process would tell where credentials are


class Credentials:
    """Gives obstore the credentials of the standard chain (environment, profile, web identity, machine)."""

    def __init__(self, source: Any) -> None:
        """`source` is what `boto3.Session.get_credentials` gives; it renews itself."""
        self._source = source

    def __call__(self) -> "S3Credential":
        frozen = self._source.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEPT,
        }


@dataclass(frozen=True, slots=True)
class S3Session:
    """A client of boto3, and what another client has to know. `endpoint` is empty for AWS itself."""

    client: Any
    credentials: Credentials
    region: str
    endpoint: str
    certificates: bytes | None


def open_session(options: S3Options) -> S3Session:
    """Find credentials and the bucket. `SettingError` where nothing could ever work like this.

    A store that does not answer is no such case: the service starts without it and says 503.
    """
    try:
        session = boto3.Session()
        source = session.get_credentials()
        client = session.client(
            "s3",
            endpoint_url=options.endpoint or None,
            region_name=session.region_name or _DEFAULT_REGION,
            config=_config(options),
        )
        bundle = session._session.get_config_variable("ca_bundle")
        certificates = Path(bundle).read_bytes() if bundle else None
    except (BotoCoreError, ValueError, OSError) as error:
        raise SettingError(f"The AWS settings cannot be used: {type(error).__name__}.") from error
    if source is None:
        raise SettingError(
            "ISTHMUS_STORE is in S3 and no credentials were found: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a web identity."
        )
    told = _bucket_region(client, options.bucket)
    url = str(client.meta.endpoint_url)
    endpoint = options.endpoint or ("" if url.endswith(".amazonaws.com") else url)
    region = str((not endpoint and told) or client.meta.region_name)
    return S3Session(client, Credentials(source), region, endpoint, certificates)


def _config(options: S3Options) -> Config:
    # Stores other than AWS refuse checksums in trailers, which newer clients send unasked.
    checksums = "when_required" if options.endpoint else "when_supported"
    return Config(
        signature_version="s3v4",
        connect_timeout=options.connect_s,
        read_timeout=options.attempt_s,
        max_pool_connections=options.connections + options.part_threads,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path" if options.endpoint else "auto"},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        tcp_keepalive=True,
        user_agent_extra="isthmus",
    )


def _bucket_region(client: Any, bucket: str) -> str:
    """The region of the bucket, empty if it is not told. `SettingError` if there is no such bucket."""
    try:
        response = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        response = error.response
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise SettingError(f"ISTHMUS_STORE names the bucket {bucket!r}, which does not exist.") from error
        # Reading and writing may be allowed where looking at the bucket is not.
        _log.warning("bucket=%s status=%d", bucket, status)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise SettingError("ISTHMUS_STORE is in S3 and the AWS credentials are not complete.") from error
    except BotoCoreError as error:
        _log.warning("bucket=%s not_reached=%s", bucket, type(error).__name__)
        return ""
    headers = response["ResponseMetadata"].get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", ""))
