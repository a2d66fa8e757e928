"""The environment, read once."""

from typing import Any

import pytest

from handler.models.errors import SettingsError
from handler.settings import Settings
from tests.environment import VARIABLES as ENV


def settings(**variables: str) -> Settings:
    """Returns the settings of a stack with its defaults, but for these variables."""
    return Settings.from_env(ENV | variables)


def error(env: dict[str, str]) -> str:
    """Returns what is wrong with an environment."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(env)
    return str(raised.value)


def test_settings_are_what_the_environment_says() -> None:
    """Each under its own name, numbers as numbers; no other registry unless one is named."""
    assert settings() == Settings(
        idempotency_table=ENV["IDEMPOTENCY_TABLE"],
        notification_topic_arn=ENV["NOTIFICATION_TOPIC_ARN"],
        bulk_queue_url=ENV["BULK_QUEUE_URL"],
        repository_patterns=("*",),
        protected_tags=(),
        protected_repositories=(),
        max_images_per_request=1_000,
        max_percent_of_repository=50,
        allow_percent_in_requests=True,
        dry_run=False,
        max_concurrent_calls=13,
        protect_in_use=(),
        usage_sources=(),
        usage_table="",
        in_use_days=7,
        allow_archive=False,
        grace_period_days=0,
        result_events="none",
        result_event_bus_name="default",
        service_name="ecr-image-deletion",
        chat_notices=False,
        foreign_registry_ids=(),
    )


def test_lambda_says_how_much_memory_there_is() -> None:
    """And nobody else does."""
    assert settings(AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1024").memory_mb == 1024
    assert settings().memory_mb == 0


@pytest.mark.parametrize("name", ["PROTECTED_TAGS", "PROTECTED_REPOSITORIES", "FOREIGN_REGISTRY_IDS"])
@pytest.mark.parametrize(
    ("text", "expected"), [("", ()), ("a", ("a",)), ("a,b*", ("a", "b*")), (" a, b* ,", ("a", "b*"))]
)
def test_a_list_is_written_with_commas(name: str, text: str, expected: tuple[str, ...]) -> None:
    """As CloudFormation writes one, and as people do; empty for none."""
    assert getattr(settings(**{name: text}), name.lower()) == expected


@pytest.mark.parametrize("name", ENV)
def test_a_missing_variable_is_named(name: str) -> None:
    """With the place where it is set: a deleter never assumes that nothing is protected."""
    env = {key: value for key, value in ENV.items() if key != name}
    assert error(env) == f"environment variable {name} is not set; template.yaml sets it"


@pytest.mark.parametrize("name", ["MAX_CONCURRENT_CALLS", "MAX_IMAGES_PER_REQUEST", "MAX_PERCENT_OF_REPOSITORY"])
def test_a_number_is_a_whole_number_from_1(name: str) -> None:
    """Anything else fails at the start of the function, not at its first chunk."""
    assert getattr(settings(**{name: "1"}), name.lower()) == 1
    for value in ("0", "-1", "", "many", "1.5", " 5"):
        expected = f"environment variable {name} must be a whole number from 1, not {value!r}"
        assert error(ENV | {name: value}) == expected


def test_whether_every_request_is_a_dry_run_is_never_guessed() -> None:
    """It is true or false, as the template has it."""
    assert settings(DRY_RUN="true").dry_run
    for value in ("", "True", "1", "yes"):
        expected = f"environment variable DRY_RUN must be true or false, not {value!r}"
        assert error(ENV | {"DRY_RUN": value}) == expected


@pytest.mark.parametrize("wanted", ["none", "failures", "all"])
def test_results_become_events_as_far_as_a_stack_says(wanted: str) -> None:
    """None of them, those that failed, or all, on the bus that is named, from the stack by its name."""
    found = settings(RESULT_EVENTS=wanted, RESULT_EVENT_BUS_NAME="results", POWERTOOLS_SERVICE_NAME="my-stack")
    assert (found.result_events, found.result_event_bus_name, found.service_name) == (wanted, "results", "my-stack")


@pytest.mark.parametrize("value", ["", "None", "ALL", "true", "all "])
def test_which_results_become_events_is_never_guessed(value: str) -> None:
    """A word that is not known fails at the start of the function."""
    expected = f"environment variable RESULT_EVENTS must be none, failures or all, not {value!r}"
    assert error(ENV | {"RESULT_EVENTS": value}) == expected


def test_whether_notices_are_for_channels_is_never_guessed() -> None:
    """It is true or false, as the template has it."""
    assert settings(CHAT_NOTICES="true").chat_notices
    assert not settings(CHAT_NOTICES="false").chat_notices
    for value in ("", "True", "1", "yes"):
        expected = f"environment variable CHAT_NOTICES must be true or false, not {value!r}"
        assert error(ENV | {"CHAT_NOTICES": value}) == expected


def test_clients_give_up_long_before_the_function_must() -> None:
    """Retries and time-outs are set, for botocore's own outlive most functions; each call has its connection."""
    config: Any = settings(MAX_CONCURRENT_CALLS="7").client_config()
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 5}
    assert (config.connect_timeout, config.read_timeout) == (2, 15)
    assert settings(MAX_CONCURRENT_CALLS="7").steps_in_flight == 14
    assert config.max_pool_connections == 14 + 10  # and a notice for each record of a batch
