"""What a failed request to a store means, whatever library raised it, and whether to retry.

gcsfs, aiohttp, requests, google-auth, s3fs and botocore each raise classes of their own. They are sorted here
by HTTP status, or by class name where there is no status, so that none of them is imported.
"""

from typing import Literal

from octshard.errors import OctshardError

Kind = Literal[
    "not_found",
    "failed_precondition",
    "out_of_range",
    "permission_denied",
    "unimplemented",
    "transient",
    "other",
]

TRANSIENT_STATUS = (408, 409, 429)  # and 5xx but 501; 409 is how S3 answers two writers of one object
TRANSIENT_CODES = (  # of S3, with status 400: the bytes it received were others than those sent, or too few
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)
EXPIRED_CODES = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")  # of S3, with status 400
TRANSIENT_NAMES = (
    "Timeout",
    "Connect",
    "Checksum",
    "JSONDecode",  # a reply that is no JSON: altered, or the page of a proxy
    "UnicodeDecode",
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


class Unimplemented(StoreError):
    """The store does not know how to do what it was asked for."""


class IncompleteRead(ConnectionError):
    """Fewer bytes were received, or stored, than announced."""


class AlteredBytes(ConnectionError):
    """The bytes received are not those of the checksum that came with them."""


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
    if status == 501:
        return "unimplemented"
    if status is not None:
        transient = status in TRANSIENT_STATUS or status >= 500 or _is_damaged_upload(error, status)
        return "transient" if transient else "other"
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
    named = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
    return forbidden or named or _s3_code(error) in EXPIRED_CODES


def _is_damaged_upload(error: BaseException, status: int) -> bool:
    """True if the store refused bytes because they are not those of the checksum that was sent with them."""
    return status == 400 and (_s3_code(error) in TRANSIENT_CODES or "crc32c" in str(error).lower())


def _s3_code(error: BaseException) -> str:
    """The code of an error of S3; empty for others."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _status(error: BaseException) -> int | None:
    """The HTTP status of a cloud client's exception: gcsfs `code`, aiohttp `status`, botocore `response`."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "code", None) or getattr(error, "status", None)
    return int(str(status)) if str(status).isdigit() else None
