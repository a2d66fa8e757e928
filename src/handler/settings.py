"""The environment, read once and named once."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from botocore.config import Config

from .models.errors import SettingsError


class Settings(NamedTuple):
    """The function's settings: a field for each environment variable that the template sets."""

    idempotency_table: str
    """Name of the DynamoDB table that remembers requests and their steps."""
    notification_topic_arn: str
    """The SNS topic that carries notices."""
    bulk_queue_url: str
    """The queue of selections and of requests for several repositories, and of all that these lead to."""
    repository_patterns: tuple[str, ...]
    """The repositories that a pattern of names can mean, as IAM matches them."""
    protected_tags: tuple[str, ...]
    """Glob patterns of tags whose images are never deleted."""
    protected_repositories: tuple[str, ...]
    """Glob patterns of repositories in which nothing is ever deleted."""
    max_images_per_request: int
    """A request for more images is rejected."""
    max_percent_of_repository: int
    """A selection that means a larger share of its repository is rejected."""
    allow_percent_in_requests: bool
    """A request may raise that share for itself."""
    dry_run: bool
    """Every request is a dry run."""
    max_concurrent_calls: int
    """Calls to ECR that one invocation makes at a time, over all the requests it carries out."""
    protect_in_use: tuple[str, ...]
    """The kinds of source that tell what is in use; images in use are never deleted."""
    usage_sources: tuple[str, ...]
    """Names of the sources that declare what they use."""
    usage_table: str
    """Name of the DynamoDB table of what is in use; empty where no source is named."""
    in_use_days: int
    """How many days an image counts as in use after it was last seen so."""
    allow_archive: bool
    """Requests may archive images, and restore them."""
    grace_period_days: int
    """How many days an image stays in the archive that a selection was to delete; 0 where it is deleted at once."""
    result_events: str
    """Which results become events: "none", "failures" or "all"."""
    result_event_bus_name: str
    """The EventBridge bus that takes them."""
    service_name: str
    """Their source: the stack's name, as in logs and metrics."""
    chat_notices: bool
    """Notices have a body for chat channels as well."""
    foreign_registry_ids: tuple[str, ...] = ()
    """Accounts besides the function's own whose registries a request may name."""
    memory_mb: int = 0
    """The function's memory, as Lambda says it; 0 elsewhere."""
    endpoint_url: str | None = None
    """Where AWS is, if not where botocore knows it: an emulator's address."""

    @property
    def steps_in_flight(self) -> int:
        """A step also begins and ends in the table: with others at that, ECR need not wait for it."""
        return 2 * self.max_concurrent_calls

    @property
    def sources_of_use(self) -> tuple[str, ...]:
        """The sources that must be known before anything is deleted."""
        read = (kind.removesuffix("-running") for kind in self.protect_in_use if kind != "declared")
        return (*dict.fromkeys(read), *self.usage_sources)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Reads the variables that the template sets; raises SettingsError naming the one to fix."""
        try:
            return cls(
                idempotency_table=env["IDEMPOTENCY_TABLE"],
                notification_topic_arn=env["NOTIFICATION_TOPIC_ARN"],
                bulk_queue_url=env["BULK_QUEUE_URL"],
                # What protects something has no default: a deleter never assumes that nothing is protected.
                repository_patterns=separated(env["REPOSITORY_PATTERN"]),
                protected_tags=separated(env["PROTECTED_TAGS"]),
                protected_repositories=separated(env["PROTECTED_REPOSITORIES"]),
                max_images_per_request=whole_number(env, "MAX_IMAGES_PER_REQUEST", least=1),
                max_percent_of_repository=whole_number(env, "MAX_PERCENT_OF_REPOSITORY", least=1),
                allow_percent_in_requests=_true(env, "ALLOW_PERCENT_IN_REQUESTS"),
                dry_run=_true(env, "DRY_RUN"),
                max_concurrent_calls=whole_number(env, "MAX_CONCURRENT_CALLS", least=1),
                protect_in_use=separated(env["PROTECT_IN_USE"]),
                usage_sources=separated(env["USAGE_SOURCES"]),
                usage_table=env["USAGE_TABLE"],
                in_use_days=whole_number(env, "IN_USE_DAYS", least=0),
                allow_archive=_true(env, "ALLOW_ARCHIVE"),
                grace_period_days=whole_number(env, "GRACE_PERIOD_DAYS", least=0),
                result_events=_one_of(env, "RESULT_EVENTS", ("none", "failures", "all")),
                result_event_bus_name=env["RESULT_EVENT_BUS_NAME"],
                service_name=env["POWERTOOLS_SERVICE_NAME"],
                chat_notices=_true(env, "CHAT_NOTICES"),
                foreign_registry_ids=separated(env.get("FOREIGN_REGISTRY_IDS", "")),
                memory_mb=int(env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")),
                endpoint_url=env.get("ENDPOINT_URL") or None,
            )
        except KeyError as error:
            raise SettingsError(f"environment variable {error.args[0]} is not set; template.yaml sets it") from error

    def client_config(self) -> Config:
        """Returns how every AWS client calls: botocore's defaults wait 60 s, longer than most functions live.

        A connection that is never made costs 5 x 2 s and some 15 s of backoff, inside the function's time-out. A call
        that takes 10 s is waited for: ECR can be worked with when it is that slow. It publishes no rate limit: the
        adaptive mode slows down when it throttles, instead of making calls that fail.
        """
        return Config(
            connect_timeout=2,
            read_timeout=15,
            retries={"mode": "adaptive", "total_max_attempts": 5},
            # To build its own for each call is a tenth of botocore's work, and to check parameters that the schema
            # has checked is another. CloudTrail shows this name.
            user_agent="ecr-image-deletion",
            parameter_validation=False,
            # Every step in flight, and every record of a batch at its notice, has a connection of its own.
            max_pool_connections=self.steps_in_flight + 10,
        )


def whole_number(env: Mapping[str, str], name: str, *, least: int) -> int:
    """Returns a variable's number; raises SettingsError where it is none, or is less."""
    if not (env[name].isdecimal() and int(env[name]) >= least):
        raise SettingsError(f"environment variable {name} must be a whole number from {least}, not {env[name]!r}")
    return int(env[name])


def _true(env: Mapping[str, str], name: str) -> bool:
    return _one_of(env, name, ("true", "false")) == "true"


def _one_of(env: Mapping[str, str], name: str, known: Sequence[str]) -> str:
    if env[name] not in known:
        *others, last = known
        raise SettingsError(f"environment variable {name} must be {', '.join(others)} or {last}, not {env[name]!r}")
    return env[name]


def separated(text: str) -> tuple[str, ...]:
    """Returns what commas separate, without the blanks around it."""
    return tuple(filter(None, map(str.strip, text.split(","))))
