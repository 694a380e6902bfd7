"""What an exception of a filesystem or an object store means, and what to do about it.

fsspec's filesystems raise whatever their client library has at hand. Here that becomes one
question at a time (may it go away? is the object missing? was another writer first?) and one
message, without the secrets that a URL may carry.
"""

import errno
import re
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import (
    ConnectionError as S3ConnectionError,
)
from botocore.exceptions import (
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from tempprop.errors import StoreError, StoreInputError

CAUSE_CHARACTERS = 300

NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
UNREACHABLE = (S3ConnectionError, HTTPClientError, ConnectionError, TimeoutError)
BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "InvalidSecurity",
    "AuthorizationHeaderMalformed",
}
TRY_AGAIN = {
    "SlowDown",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "OperationAborted",
    "ConditionalRequestConflict",
}
PRECONDITION_FAILED = {"PreconditionFailed", "412"}
TOO_MANY_REQUESTS = 429
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Settings:
    """Where a protocol's clients look for what they need, for remedies.

    Attributes:
        endpoint: What holds the address of the server.
        credentials: What to set for the credentials.
    """

    endpoint: str
    credentials: str


OR_OF_THE_OUTPUT = ", or storage.endpoint_url of the configuration"

S3_SETTINGS = Settings(
    "AWS_ENDPOINT_URL", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
)
OUTPUT_SETTINGS = replace(S3_SETTINGS, endpoint=S3_SETTINGS.endpoint + OR_OF_THE_OUTPUT)
GOOGLE_SETTINGS = Settings(
    "STORAGE_EMULATOR_HOST" + OR_OF_THE_OUTPUT,
    "Set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login",
)
AZURE_SETTINGS = Settings(
    "AZURE_STORAGE_CONNECTION_STRING",
    "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and its credentials",
)
SETTINGS = {
    "gs": GOOGLE_SETTINGS,
    "gcs": GOOGLE_SETTINGS,
    "az": AZURE_SETTINGS,
    "abfs": AZURE_SETTINGS,
    "abfss": AZURE_SETTINGS,
}
"""By the scheme of an output; all others are told those of S3."""

Verdict = tuple[type[StoreError | StoreInputError], str, str]


def display_uri(uri: str) -> str:
    """Leave out of a URI what may be secret: user, password and query.

    Returns:
        The URI to show to people; a plain path comes back as it is.
    """
    if "://" not in uri:
        return uri
    scheme, _, rest = uri.partition("://")
    place = rest.partition("?")[0]
    # Access keys may hold slashes, so a colon before the last @ gives everything up to it away.
    secret = r"^[^@]*:.*@" if ":" in place.rpartition("@")[0] else r"^[^/@]*@"
    return f"{scheme}://{re.sub(secret, '', place)}"


def explain(uri: str, operation: str, cause: Exception) -> StoreError | StoreInputError:
    """Turn a fault into one error that says what happened, where, and what to do.

    Args:
        uri: The store, without credentials.
        operation: What was tried, as in "write records/a.json".
        cause: What the filesystem raised.

    Returns:
        A `StoreInputError` where trying again cannot help, else a `StoreError`.
    """
    kind, reason, remedy = diagnose(cause, SETTINGS.get(uri.partition("://")[0], OUTPUT_SETTINGS))
    return kind(f"{uri}: could not {operation}: {reason}. {remedy}. Cause: {one_line(cause)}")


def diagnose(cause: Exception, settings: Settings = S3_SETTINGS) -> Verdict:
    """Sort a fault.

    Args:
        cause: What the filesystem raised.
        settings: What remedies name.

    Returns:
        The class of the error, the reason, and the remedy.
    """
    code, number = s3_code(cause), getattr(cause, "errno", None)
    verdicts: list[tuple[bool, Verdict]] = [
        (
            is_unreachable_server(cause),
            (StoreInputError, "the server cannot be reached", "Check the address and the network"),
        ),
        (
            code == "NoSuchBucket",
            (StoreInputError, "the bucket does not exist", "Create it, or correct the URI"),
        ),
        (
            code in BAD_CREDENTIALS or isinstance(cause, NO_CREDENTIALS),
            (
                StoreInputError,
                "the credentials are missing or not accepted",
                settings.credentials,
            ),
        ),
        (
            isinstance(cause, PermissionError),
            (
                StoreInputError,
                "permission denied",
                "Check the credentials, and the right to list, read, write and delete there",
            ),
        ),
        (
            isinstance(cause, FileNotFoundError),
            (StoreInputError, "the location does not exist", "Create it, or correct the path"),
        ),
        (
            number in DISK_FULL,
            (StoreError, "the disk is full", "Free some space, then run again"),
        ),
        (
            isinstance(cause, NotADirectoryError | IsADirectoryError),
            (StoreInputError, "a file is where a directory should be", "Choose another place"),
        ),
        (
            number == errno.EROFS or isinstance(cause, NotImplementedError),
            (StoreInputError, "the location can only be read", "Choose another place"),
        ),
        (
            isinstance(cause, ParamValidationError | ValueError),
            (
                StoreInputError,
                "the bucket name, the path or the endpoint is not valid",
                f"Correct the URI, or the endpoint ({settings.endpoint}), which is "
                f"http://HOST:PORT or https://HOST. {settings.credentials}",
            ),
        ),
        (
            is_transient(cause),
            (
                StoreError,
                "the storage does not answer, or only with errors",
                f"Check the network and the endpoint ({settings.endpoint}), then run again",
            ),
        ),
    ]
    unknown = (StoreError, "the storage failed", "Run again; what is committed is kept")
    return next((verdict for applies, verdict in verdicts if applies), unknown)


def is_transient(error: BaseException) -> bool:
    """Tell a fault that may go away within seconds from one that stays."""
    if s3_code(error) in TRY_AGAIN:
        return True
    status = _http_status(error)
    if status is not None:
        return status >= 500 or status == TOO_MANY_REQUESTS
    return isinstance(error, UNREACHABLE)


def is_remote_fault(error: BaseException) -> bool:
    """Tell whether it is about a bucket, credentials or a connection, not about a path."""
    return bool(s3_code(error)) or isinstance(error, NO_CREDENTIALS + UNREACHABLE)


def is_missing(error: BaseException) -> bool:
    """Tell whether the object is not there, in a place that is."""
    return (
        isinstance(error, FileNotFoundError)
        and not is_unreachable_server(error)
        and s3_code(error) != "NoSuchBucket"
    )


def is_unreachable_server(error: BaseException) -> bool:
    """Tell a web server without an answer from a file that it does not have.

    fsspec calls both of them a file that is not found.
    """
    return isinstance(error, FileNotFoundError) and isinstance(
        error.__cause__, OSError | TimeoutError
    )


def lost_create(error: BaseException) -> bool:
    """Tell whether a create-only write found an object."""
    return isinstance(error, FileExistsError) or s3_code(error) in PRECONDITION_FAILED


def s3_code(error: BaseException) -> str:
    """Give the error code of an S3 answer, empty for every other fault."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def one_line(cause: BaseException) -> str:
    """Shorten an exception to one line without the secrets that a URL in it may carry."""
    text = " ".join(f"{type(cause).__name__}: {cause}".split()).rstrip(": ")
    text = re.sub(r"://[^/\s@]*@", "://", text)
    text = re.sub(r"([?&][^=&\s]+)=[^&\s]+", r"\1=...", text)
    return text[:CAUSE_CHARACTERS].rstrip(".")


def _response(error: BaseException) -> dict[str, Any]:
    """Find botocore's parsed answer; s3fs keeps it on the cause of its own exception."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def _http_status(error: BaseException) -> int | None:
    """Give the HTTP status of an answer, under any name that fsspec's filesystems have for it."""
    metadata = _response(error).get("ResponseMetadata", {})
    candidates = [metadata.get("HTTPStatusCode")]
    candidates += [getattr(error, name, None) for name in ("status", "status_code", "code")]
    return next((value for value in candidates if isinstance(value, int)), None)
