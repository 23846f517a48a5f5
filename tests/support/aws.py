"""No test reaches AWS."""

import os

import pytest

NOBODY = "http://127.0.0.1:9"  # the discard port: who connects is refused at once


def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever could lead to AWS: credentials, profiles, the metadata service, every endpoint."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)
    given = {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": NOBODY,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
