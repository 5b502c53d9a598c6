"""Calls of boto3, their errors as ours."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
)

from service.dicom.errors import StoreUnavailable
from service.store.s3.failures import failure
from service.store.s3.retrying import Transient


def called(function: Callable[..., Any], **arguments: Any) -> Any:
    """What `function(**arguments)` of a boto3 client gives. `Transient` or an error of ours."""
    try:
        return function(**arguments)
    except ClientError as error:
        response = error.response
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response["ResponseMetadata"]["HTTPStatusCode"])
        if status == 200:  # an error behind a head that was sent too early
            raise Transient(f"200 {code}") from error
        raise failure(status, "" if code.isdigit() else code) from error
    except (NoCredentialsError, ParamValidationError) as error:
        raise StoreUnavailable("The object store cannot be asked; the log tells more.") from error
    except HTTPClientError as error:
        raise Transient("no answer") from error
    except BotoCoreError as error:
        raise Transient(type(error).__name__) from error
