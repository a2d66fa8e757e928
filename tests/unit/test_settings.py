"""The environment, read once."""

from typing import Any

import pytest

from handler.settings import Settings, SettingsError
from tests.environment import VARIABLES as ENV


def test_settings_are_what_the_environment_says() -> None:
    """Each under its own name, numbers as numbers; no other registry unless one is named."""
    assert Settings.from_env(ENV) == Settings(
        idempotency_table="steps",
        notification_topic_arn="arn:aws:sns:us-east-1:123456789012:failures",
        max_concurrent_calls=12,
        max_images_per_request=1_000,
        protected_tags=(),
        protected_repositories=(),
        dry_run=False,
        max_percent_of_repository=50,
        repository_pattern="*",
        request_queue_url="https://queue",
        foreign_registry_ids=(),
    )


def test_one_call_at_a_time_is_enough() -> None:
    """The least there can be."""
    assert Settings.from_env(ENV | {"MAX_CONCURRENT_CALLS": "1"}).max_concurrent_calls == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ()), ("111111111111", ("111111111111",)), ("111111111111,222222222222", ("111111111111", "222222222222"))],
)
def test_foreign_registries_are_a_list(text: str, expected: tuple[str, ...]) -> None:
    """As CloudFormation writes one: with commas, and empty for none."""
    assert Settings.from_env(ENV | {"FOREIGN_REGISTRY_IDS": text}).foreign_registry_ids == expected


@pytest.mark.parametrize("name", ENV)
def test_a_missing_variable_is_named(name: str) -> None:
    """With the place to mend it."""
    with pytest.raises(SettingsError) as error:
        Settings.from_env({key: value for key, value in ENV.items() if key != name})
    assert str(error.value) == f"environment variable {name} is not set; template.yaml sets it"


@pytest.mark.parametrize("name", ["MAX_CONCURRENT_CALLS", "MAX_IMAGES_PER_REQUEST", "MAX_PERCENT_OF_REPOSITORY"])
@pytest.mark.parametrize("value", ["0", "-1", "", "many", "1.5", " 5"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    """At the start of the function, not at its first chunk."""
    with pytest.raises(SettingsError) as error:
        Settings.from_env(ENV | {name: value})
    assert str(error.value) == f"environment variable {name} must be a whole number from 1, not {value!r}"


@pytest.mark.parametrize("value", ["", "True", "1", "yes"])
def test_whether_all_is_a_dry_run_is_never_guessed(value: str) -> None:
    """It is true or false, as the template has it."""
    with pytest.raises(SettingsError) as error:
        Settings.from_env(ENV | {"DRY_RUN": value})
    assert str(error.value) == f"environment variable DRY_RUN must be true or false, not {value!r}"
    assert Settings.from_env(ENV | {"DRY_RUN": "true"}).dry_run


def test_protected_names_are_lists() -> None:
    """Of patterns, with commas."""
    settings = Settings.from_env(ENV | {"PROTECTED_TAGS": "latest,prod*", "PROTECTED_REPOSITORIES": "team/base"})
    assert settings.protected_tags == ("latest", "prod*")
    assert settings.protected_repositories == ("team/base",)


def test_clients_give_up_long_before_the_function_must() -> None:
    """Retries and time-outs are set, for botocore's own outlive most functions; each call has its connection."""
    settings = Settings.from_env(ENV)
    config: Any = settings.client_config()
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 5}
    assert (config.connect_timeout, config.read_timeout) == (2, 10)
    assert config.max_pool_connections == settings.steps_in_flight + 10  # and a notice for each record of a batch
