"""The environment of the function that reads what is in use."""

import pytest

from handler.models.errors import SettingsError
from handler.usage.settings import ReaderSettings
from tests.environment import READER_VARIABLES


def test_settings_are_what_the_environment_says() -> None:
    """Numbers and lists, as the template writes them; sources are read in the order of their names."""
    settings = ReaderSettings.from_env(
        READER_VARIABLES | {"PROTECT_IN_USE": "lambda, ecs,declared,inspector", "USAGE_SOURCES": "eks/prod,nomad"}
    )
    assert settings == ReaderSettings(
        "usage", ("lambda", "ecs", "declared", "inspector"), ("eks/prod", "nomad"), 7, 60, 3, None
    )
    assert settings.read_sources == ("ecs", "inspector", "lambda")
    assert (settings.max_age, settings.in_use_seconds) == (3 * 3_600, 7 * 86_400)
    assert ReaderSettings.from_env(READER_VARIABLES | {"ENDPOINT_URL": "http://loopback"}).endpoint_url


def test_only_sources_that_are_chosen_are_read() -> None:
    """None of them where all use is declared."""
    assert ReaderSettings.from_env(READER_VARIABLES | {"PROTECT_IN_USE": "declared"}).read_sources == ()
    assert ReaderSettings.from_env(READER_VARIABLES | {"PROTECT_IN_USE": "lambda"}).read_sources == ("lambda",)


@pytest.mark.parametrize("name", READER_VARIABLES)
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    """None has a default: the template sets them all."""
    with pytest.raises(SettingsError, match=name):
        ReaderSettings.from_env({key: value for key, value in READER_VARIABLES.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IN_USE_DAYS", "-1"), ("IN_USE_DAYS", "1.5"), ("USAGE_REFRESH_MINUTES", "0"),
        ("TASK_DEFINITION_REVISIONS", "0"), ("TASK_DEFINITION_REVISIONS", "three"),
    ],
)  # fmt: skip
def test_a_variable_that_is_no_number_is_named(name: str, value: str) -> None:
    """With what it says, and what it should say."""
    with pytest.raises(SettingsError, match=f"{name} must be a whole number from ., not '{value}'"):
        ReaderSettings.from_env(READER_VARIABLES | {name: value})


def test_readers_are_patient() -> None:
    """More tries than the function that deletes makes, for a reading that fails starts again."""
    config = ReaderSettings.client_config()
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 8}  # type: ignore[attr-defined]  # not in stubs
