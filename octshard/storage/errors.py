"""What a failed request to a store means, whatever library raised it, and whether to retry.

gcsfs, aiohttp, requests, google-auth, s3fs and botocore each raise classes of their own. They are sorted here
by HTTP status, or by class name where there is no status, so that none of them is imported.
"""

from typing import Literal

from octshard.errors import OctshardError

Kind = Literal["not_found", "failed_precondition", "out_of_range", "permission_denied", "transient", "other"]

TRANSIENT_STATUS = (408, 409, 429)  # and 5xx; 409 is how S3 answers two writers of one object
TRANSIENT_NAMES = (
    "Timeout",
    "Connect",
    "Transport",
    "Payload",
    "IncompleteRead",
    "ResponseParser",
    "ResponseStreaming",
)


class StoreError(OctshardError):
    """A request to a store failed, after bounded retries."""


class OutOfRange(StoreError):
    """The range lies outside the object."""


class NotAFile(StoreError):
    """A folder, a pipe or a device is where a file is wanted."""


class IncompleteRead(ConnectionError):
    """Fewer bytes were received, or stored, than announced."""


def classify(error: BaseException) -> Kind:
    """The kind of a failure, in the words of gRPC status codes; `other`: anything else.

    s3fs and google-auth wrap the original error: an error without a status or a known name is classified
    by its cause.
    """
    status = _status(error)
    cause = error.__cause__
    if isinstance(error, FileExistsError) or status == 412:
        return "failed_precondition"
    if isinstance(error, FileNotFoundError) or status == 404:
        return "not_found"
    if status in (401, 403) or _is_refusal(error):
        # gcsfs reports a bad moment of the token server as a 401, and google-auth says that it may pass
        return "transient" if getattr(cause, "retryable", False) is True else "permission_denied"
    if status == 416:
        return "out_of_range"
    if status is not None:
        return "transient" if status in TRANSIENT_STATUS or status >= 500 else "other"
    names = [base.__name__ for base in type(error).__mro__]
    if any("Certificate" in name for name in names):
        return "other"
    is_transient = any(word in name for name in names for word in TRANSIENT_NAMES)
    if is_transient or isinstance(error, ConnectionError | TimeoutError):
        return "transient"
    return classify(cause) if cause is not None else "other"


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, or its name if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _is_refusal(error: BaseException) -> bool:
    """True for denied requests without a status: s3fs's, botocore's, and gcsfs's 403 (by its first word)."""
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")
    return forbidden or isinstance(error, PermissionError) or "Credentials" in type(error).__name__


def _status(error: BaseException) -> int | None:
    """The HTTP status of a cloud client's exception: gcsfs `code`, aiohttp `status`, botocore `response`."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "code", None) or getattr(error, "status", None)
    return int(str(status)) if str(status).isdigit() else None
