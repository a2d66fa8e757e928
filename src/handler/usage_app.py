"""Lambda entry of the second function: a schedule, or a turn before this one, in; what is in use, in the table.

It shares nothing with the function that deletes but the table: neither its permissions nor its time.
"""

# As in app.py: to look through the objects of imports and clients for garbage is a tenth of a cold start.
# ruff: noqa: E402
import gc

gc.disable()

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger

from .usage import ecs, inspector, lambda_
from .usage.claims import Claims
from .usage.inventory import Inventory
from .usage.measures import measure
from .usage.pace import limit_rate
from .usage.reading import ListUnits, ReadingFailedError
from .usage.refresh import Refresh
from .usage.settings import ReaderSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

type Handler = Callable[[Any, LambdaContext], None]

logger = Logger()


class Services:
    """The settings, and the clients of those services that are read."""

    def __init__(self, settings: ReaderSettings) -> None:
        """Makes the clients."""
        self.settings = settings
        self.dynamodb = self._client("dynamodb")
        self.lambda_ = self._client("lambda")
        self.sources: Mapping[str, ListUnits] = {name: self._list_units(name) for name in settings.read_sources}

    def _client(self, service: str) -> Any:
        config, url = self.settings.client_config(), self.settings.endpoint_url
        client: Any = boto3.client(service, config=config, endpoint_url=url)  # type: ignore[call-overload]  # it must see the name
        limit_rate(client)
        return client

    def _list_units(self, source: str) -> ListUnits:
        match source:
            case "ecs":
                whole = "ecs" in self.settings.protect_in_use  # and not what runs alone
                return partial(ecs.units, self._client("ecs"), whole * self.settings.task_definition_revisions)
            case "lambda":
                return partial(lambda_.units, self.lambda_)
        return partial(inspector.units, self._client("inspector2"))


def create_handler(services: Services) -> Handler:
    """Returns the handler that Lambda calls, with these services."""
    settings = services.settings
    inventory = Inventory(services.dynamodb, settings.usage_table)

    @logger.inject_lambda_context(clear_state=True)
    def handle(event: Any, context: "LambdaContext") -> None:
        """Reads what is due, and counts how old each source is.

        Raises ReadingFailedError where a source could not be read, so that Lambda tries twice more.
        """

        def invoke(event: dict[str, Any]) -> None:
            services.lambda_.invoke(
                FunctionName=context.function_name, InvocationType="Event", Payload=json.dumps(event)
            )

        claims = Claims(services.dynamodb, settings.usage_table)
        refresh = Refresh(settings, services.sources, inventory, claims, invoke, logger)
        images, failed = refresh.run(
            event, context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000
        )
        measure(inventory.sources(), images, settings, logger)
        if failed:
            raise ReadingFailedError(f"not read: {', '.join(failed)}; the log says why")

    return handle


lambda_handler = create_handler(Services(ReaderSettings.from_env()))
gc.freeze()
gc.enable()
