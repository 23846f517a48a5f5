"""Unit tests see no settings of whoever runs them."""

import pytest

from tests.support.aws import no_aws
from tests.support.objects import forget_settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)
    no_aws(monkeypatch)
