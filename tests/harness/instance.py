"""An instance of the function in a process of its own, which can be killed in the middle of a call.

`python -m tests.harness.instance` reads the environment, the event and the context as JSON, and prints the answer.
"""

# ruff: noqa: T201  # the answer goes to who started the process
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.runtime import FakeLambdaContext, load_function

ROOT = Path(__file__).resolve().parents[2]


class InstanceDiedError(Exception):
    """The process ended before the function answered."""


class Instance:
    """Starts the function for one event, and answers as it does; raises InstanceDiedError where it is killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, event: Any, context: FakeLambdaContext) -> Any:
        """Invokes the function, as a handler is invoked."""
        payload = {"environment": self._environment, "event": event, "request_id": context.aws_request_id}
        with subprocess.Popen(
            [sys.executable, "-m", "tests.harness.instance"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            self._process = process
            output, _ = process.communicate(json.dumps(payload))
        if process.returncode:
            raise InstanceDiedError(f"the process ended with {process.returncode}")
        return json.loads(output.splitlines()[-1])

    def kill(self) -> None:
        """Kills the process, and returns when it is dead."""
        if self._process is None:
            raise RuntimeError("there is no process yet")
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Runs one invocation."""
    payload = json.load(sys.stdin)
    function = load_function(payload["environment"])
    print(json.dumps(function(payload["event"], FakeLambdaContext(aws_request_id=payload["request_id"]))))


if __name__ == "__main__":
    main()
