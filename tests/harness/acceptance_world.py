"""The embedded AWS as `make acceptance` needs it: its queue is polled, and its functions can be invoked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.ecr.models import ecr_backends
from moto.sqs.models import sqs_backends

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS, Function
from local.gateway import Gateway, one_at_a_time
from local.poller import Poller
from local.runtime import Handler, load_function
from local.scheduler import send_due
from local.server import Application

PARAMETERS = {
    "RepositoryPattern": "acceptance/*",
    "ProtectedTags": "release-*",
    "EventBusName": "default",
    "ResultEvents": "all",
    "AllowArchive": "true",
    "ProtectInUse": "lambda",
    "BulkTimeout": "120",
}
"""Those that the guide recommends for a stack that is to be proven."""

_PAUSE_SECONDS = 0.05
_LATER = timedelta(hours=1)
"""Schedules that are due within this time are sent at once: no test waits a minute for one, or for a message."""


@contextmanager
def served(aws: EmbeddedAWS, wrap: Callable[[Handler], Handler] = lambda handler: handler) -> Iterator[None]:
    """Runs the stack's functions, while it lasts. `wrap` may break the one that deletes."""
    handler = one_at_a_time(wrap(load_function(aws.environment)))
    functions = {function.name: (function, handler) for function in aws.lanes.values()}
    if name := aws.outputs.get("UsageFunctionName"):
        usage = Function(name, aws.outputs["FunctionArn"].replace(aws.function.name, name), 900, 512, 1)
        functions[name] = (usage, one_at_a_time(load_function(aws.usage_environment, "usage_app")))
    stop = threading.Event()
    ecr_backends[ACCOUNT_ID][REGION].activation_seconds = _PAUSE_SECONDS

    def poll() -> None:
        poller = Poller(aws, handler)
        while not stop.wait(_PAUSE_SECONDS):
            send_due(aws, datetime.now(UTC) + _LATER)
            for queue in sqs_backends[ACCOUNT_ID][REGION].queues.values():
                for message in list(queue._messages):
                    message.delayed_until = 0
            poller.drain()

    thread = threading.Thread(target=poll, name="poller")
    with aws.behind(lambda services: _by_name(services, functions)):
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _by_name(services: Application, functions: Mapping[str, tuple[Function, Handler]]) -> Application:
    """Returns an application that invokes the function that a path names, and leaves other calls to the services."""
    gateways = {name: Gateway(services, [own], handler, lambda *_: None) for name, (own, handler) in functions.items()}

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        named = [gateway for name, gateway in gateways.items() if f"/functions/{name}/" in environ["PATH_INFO"]]
        return (named or list(gateways.values()))[0](environ, start_response)

    return call
