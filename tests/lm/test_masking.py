"""What counts as secret, and that texts are kept free of it."""

from __future__ import annotations

import pytest

from declm.lm.masking import is_secret, scrub, shown

SECRET = [
    "api_key",
    "aws_secret_access_key",
    "aws_access_key_id",
    "azure_ad_token",
    "vertex_credentials",
    "extra_headers",
]
PLAIN = ["max_tokens", "temperature", "top_k", "monkey", "keys_to_keep", "token_limit"]


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", PLAIN)
def test_names_that_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_options_are_shown_without_secrets() -> None:
    options = {"api_key": "a", "top_p": 1, "azure_ad_token": "b", "api_base": "http://user:password@host/v1"}
    assert shown(options) == {"top_p": "1", "azure_ad_token": "***", "api_base": "'http://***@host/v1'"}


def test_secrets_of_options_headers_and_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "from-the-environment")
    options = {"api_key": "from-an-argument", "extra_headers": {"X-Api-Key": "from-a-header", "x-team": "blue-team"}}
    text = "from-the-environment from-an-argument from-a-header blue-team"
    assert scrub(text, options) == "*** *** *** blue-team"


def test_a_placeholder_for_a_key_is_not_masked() -> None:
    assert scrub("none of this", {"api_key": "none"}) == "none of this"
