"""Where the emulators of cloud stores are, and what they need."""

import importlib.util
import os

import pytest

BUCKET = "octshard-test"


def need(package: str) -> None:
    """Skips where a package lacks, without the time that its import takes."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"no {package} here")


def s3_settings(endpoint: str) -> dict[str, str]:
    """The environment in which S3 is at `endpoint`, whatever account the machine has."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIATESTKEY",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
