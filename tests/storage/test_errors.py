"""Failures of every library a store may be asked with are sorted rightly."""

import http.client
import json

import pytest

from octshard.storage import errors


class HttpError(Exception):
    """What gcsfs raises: an exception with a status code."""

    def __init__(self, code: int | str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class ClientError(Exception):
    """What botocore raises: an exception with a parsed response."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(f"status {status}")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


class RefreshError(Exception):
    """What google-auth raises when a token cannot be had, and whether that may pass."""

    def __init__(self, retryable: bool) -> None:
        super().__init__("no token")
        self.retryable = retryable


class ConnectTimeoutError(Exception):
    """A kind known by its name only."""


class ProxyError(ConnectTimeoutError):
    """A kind known by its parent's name: gcsfs raises such a one of requests for a 502."""


class ClientConnectorCertificateError(ConnectTimeoutError):
    """A connection that no other attempt would mend."""


class ClientPayloadError(Exception):
    """What aiohttp raises for a body cut short, from a cause that bears the status of a wrong request."""


class NoCredentialsError(Exception):
    """What botocore raises where there is no account."""


def caused(error: Exception, cause: Exception) -> Exception:
    """`error` as it is after `raise error from cause`."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError(501, "NotImplemented"), "unimplemented"),
        *[(ClientError(400, code), "transient") for code in errors.TRANSIENT_CODES],
        *[(ClientError(400, code), "permission_denied") for code in errors.EXPIRED_CODES],
        (ClientError(400, "InvalidArgument"), "other"),
        (HttpError(400, "Provided CRC32C does not match calculated CRC32C"), "transient"),
        (HttpError(400, "bad name"), "other"),
        (json.JSONDecodeError("Expecting value", "<html>", 0), "transient"),
        (errors.AlteredBytes("md5"), "transient"),
        *[(HttpError(code), "transient") for code in (408, 409, 429, 500, 502, 503, 504, "503")],
        *[(HttpError(code), "other") for code in (400, 405, 411)],
        *[(HttpError(code), "permission_denied") for code in (401, 403)],
        (HttpError(404), "not_found"),
        (HttpError(412), "failed_precondition"),
        (HttpError(416), "out_of_range"),
        (caused(OSError(16, "busy"), ClientError(503)), "transient"),
        (caused(PermissionError("denied"), ClientError(403)), "permission_denied"),
        (caused(OSError(22, "range"), ClientError(416)), "out_of_range"),
        (caused(OSError(22, "condition"), ClientError(412)), "failed_precondition"),
        (FileNotFoundError("x"), "not_found"),
        (FileExistsError("x"), "failed_precondition"),
        (OSError("Forbidden: b/x\nno"), "permission_denied"),
        (NoCredentialsError("none"), "permission_denied"),
        (caused(HttpError(401, "Invalid Credentials"), RefreshError(retryable=True)), "transient"),
        (caused(HttpError(401, "Invalid Credentials"), RefreshError(retryable=False)), "permission_denied"),
        (ConnectionResetError("reset"), "transient"),
        (BrokenPipeError("pipe"), "transient"),
        (TimeoutError(), "transient"),
        (caused(ClientPayloadError("short"), HttpError(400, "not enough data")), "transient"),
        (http.client.IncompleteRead(b""), "transient"),
        (errors.IncompleteRead("short"), "transient"),
        (ProxyError(), "transient"),
        (ClientConnectorCertificateError(), "other"),
        (ValueError("x"), "other"),
        (KeyError("x"), "other"),
    ],
    ids=repr,
)
def test_kinds(error: Exception, kind: str) -> None:
    assert errors.classify(error) == kind


def test_an_error_is_one_line() -> None:
    assert errors.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert errors.one_line(TimeoutError()) == "TimeoutError"
