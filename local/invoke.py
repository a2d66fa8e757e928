"""Invokes the built package by hand, before the AWS of a running `make serve`: `python -m local.invoke FILE`."""

import argparse
import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .rie import FunctionError, RuntimeEmulator
from .runtime import isolate
from .serve import CONTAINER_HOST, ENVIRONMENT, FUNCTION, STATE
from .template import cloudformation

LOG = STATE / "invoke.log"


def environment(path: Path = ENVIRONMENT) -> dict[str, str]:
    """Returns the function's variables as `make serve` has written them; raises LookupError where it does not run."""
    problem = "no `make serve` is running: start it in another terminal"
    try:
        variables = json.loads(path.read_text())[FUNCTION]
    except FileNotFoundError as error:
        raise LookupError(problem) from error
    variables["ENDPOINT_URL"] = variables["ENDPOINT_URL"].replace(CONTAINER_HOST, "127.0.0.1")
    address = urlsplit(variables["ENDPOINT_URL"])
    try:
        socket.create_connection((address.hostname, address.port), timeout=2).close()
    except OSError as error:
        raise LookupError(problem) from error
    return {name: str(value) for name, value in variables.items()}


def main(arguments: list[str] | None = None) -> int:
    """Prints the answer, or the error."""
    parser = argparse.ArgumentParser(prog="python -m local.invoke", description=__doc__)
    parser.add_argument("event", type=Path, help="a file with a request, such as events/by-hand.json")
    path: Path = parser.parse_args(arguments).event
    isolate()
    properties: dict[str, Any] = cloudformation()["Resources"][FUNCTION]["Properties"]
    try:
        event = json.loads(path.read_text())
        emulator = RuntimeEmulator(environment(), timeout=properties["Timeout"], memory=properties["MemorySize"])
    except (LookupError, OSError, ValueError) as error:
        print(error.args[0] if isinstance(error, LookupError) else f"{path}: {error}", file=sys.stderr)
        return 1
    with emulator:
        try:
            print(json.dumps(emulator.invoke(event), indent=2))
        except FunctionError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            LOG.write_text(emulator.logs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
