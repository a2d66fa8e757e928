"""The environment of the function that reads what is in use, read once and named once."""

import os
from collections.abc import Mapping
from typing import NamedTuple, Self

from botocore.config import Config

from handler.models.errors import SettingsError
from handler.settings import separated, whole_number

READ_SOURCES = ("ecs", "inspector", "lambda")
"""The sources that are read; others declare what they use."""
_EXPIRIES = 3
"""Readings in a row that may fail before a source is not believed any more."""


class ReaderSettings(NamedTuple):
    """The function's settings: a field for each environment variable that the template sets."""

    usage_table: str
    """Name of the DynamoDB table of what is in use."""
    protect_in_use: tuple[str, ...]
    """The kinds of source that tell what is in use."""
    usage_sources: tuple[str, ...]
    """Names of the sources that declare what they use."""
    in_use_days: int
    """How many days an image counts as in use after it was last seen so."""
    refresh_minutes: int
    """How often each source is read."""
    task_definition_revisions: int
    """How many of the newest revisions of a task definition count as in use, where all of them are read."""
    endpoint_url: str | None = None
    """Where AWS is, if not where botocore knows it: an emulator's address."""

    @property
    def read_sources(self) -> tuple[str, ...]:
        """The sources that are read here."""
        chosen = {kind.removesuffix("-running") for kind in self.protect_in_use}
        return tuple(kind for kind in READ_SOURCES if kind in chosen)

    @property
    def max_age(self) -> float:
        """Seconds for which a reading is believed, from when it began."""
        return _EXPIRIES * 60.0 * self.refresh_minutes

    @property
    def in_use_seconds(self) -> float:
        """Seconds for which an image counts as in use once its source may have fallen silent."""
        return 24 * 60 * 60.0 * self.in_use_days

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Reads the variables that the template sets; raises SettingsError naming the one to fix."""
        try:
            return cls(
                usage_table=env["USAGE_TABLE"],
                protect_in_use=separated(env["PROTECT_IN_USE"]),
                usage_sources=separated(env["USAGE_SOURCES"]),
                in_use_days=whole_number(env, "IN_USE_DAYS", least=0),
                refresh_minutes=whole_number(env, "USAGE_REFRESH_MINUTES", least=1),
                task_definition_revisions=whole_number(env, "TASK_DEFINITION_REVISIONS", least=1),
                endpoint_url=env.get("ENDPOINT_URL") or None,
            )
        except KeyError as error:
            raise SettingsError(f"environment variable {error.args[0]} is not set; template.yaml sets it") from error

    @staticmethod
    def client_config() -> Config:
        """Returns how every AWS client calls: patiently, for a reading that fails is one that starts again.

        The adaptive mode slows down where a service throttles in spite of our pace.
        """
        return Config(
            connect_timeout=2,
            read_timeout=30,
            retries={"mode": "adaptive", "total_max_attempts": 8},
            user_agent="ecr-image-deletion",  # to build botocore's own for each call is a tenth of its work
            parameter_validation=False,  # every parameter is AWS's own answer, or a constant
            max_pool_connections=20,
        )
