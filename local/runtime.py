"""The function in Lambda's runtime: its environment, its context, and the import of its handler."""

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

type Handler = Callable[[Any, Any], Any]

SOURCE = Path(__file__).resolve().parent.parent / "src"


@dataclass
class FakeLambdaContext:
    """The context of one invocation. It begins when this is made, and ends `timeout` seconds later."""

    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    function_name: str = "DeletionFunction"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:DeletionFunction"
    timeout: float = 120
    function_version: str = "$LATEST"
    log_group_name: str = "/aws/lambda/ecr-image-deletion"
    log_stream_name: str = "embedded"

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.timeout

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the invocation; 0 when it is over."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def isolate(environment: Mapping[str, str] | None = None) -> None:
    """Rids this process of what points at a person's account, configuration or proxy; then sets `environment`."""
    for name in list(os.environ):
        if name.upper().startswith(("AWS_", "BOTO_", "POWERTOOLS_")) or name.upper().endswith("_PROXY"):
            del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **(environment or {})}


def load_function(environment: Mapping[str, str], entry: str = "app") -> Handler:
    """Imports the handler as a new instance of the function would, with this environment and no other AWS variables.

    `entry` is the module of its handler; for any but "app", nothing else is imported anew. Its logs go to what is
    sys.stdout now.
    """
    isolate(environment)
    if str(SOURCE) not in sys.path:
        sys.path.insert(0, str(SOURCE))
    anew = "handler" if entry == "app" else f"handler.{entry}"
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{anew}.")]:
        del sys.modules[name]
    # Powertools keeps its logger, and with it the stream of the instance before.
    logging.Logger.manager.loggerDict.pop(environment.get("POWERTOOLS_SERVICE_NAME", ""), None)
    handler: Handler = importlib.import_module(f"handler.{entry}").lambda_handler
    return handler if entry != "app" else _Instance(handler)


class _Instance:
    """A handler whose modules stay its own: what it imports late must not be of an instance that was loaded since."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._modules = handler, Modules()

    def __call__(self, event: Any, context: Any) -> Any:
        with self._modules.imported():
            return self._handler(event, context)


class Modules:
    """The function's modules as they are imported now, and what is imported late while they are."""

    def __init__(self) -> None:
        self._modules = self._loaded()

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Makes these the function's modules that are imported, and no others."""
        if self._are_imported():
            yield
            if self._are_imported():  # no other instance was loaded meanwhile
                self._modules = self._loaded()
            return
        others = self._loaded()
        self._replace(self._modules)
        try:
            yield
        finally:
            self._modules = self._loaded()
            self._replace(others)  # another instance may be at work, while this one was called

    def _are_imported(self) -> bool:
        return all(sys.modules.get(name) is module for name, module in self._modules.items())

    def _replace(self, modules: Mapping[str, ModuleType]) -> None:
        for name in self._loaded():
            del sys.modules[name]
        sys.modules.update(modules)

    def _loaded(self) -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if f"{name}.".startswith("handler.")}
