"""The built package as Lambda runs it: AWS's runtime interface emulator, without Docker.

`sam build` makes the package, SAM CLI carries the emulator (a Linux program), and `awslambdaric` is the runtime that
Lambda itself uses. What the emulator does, as observed:

- The function's process starts at the first invocation, not before. Its start counts against the time-out, so the first
  `get_remaining_time_in_millis()` is shorter by it; Lambda does not count it.
- A function that raises is answered with HTTP 200 and the error as JSON, without the `X-Amz-Function-Error` header.
- A time-out is answered with HTTP 200 and a bare sentence; the process has then been killed with SIGKILL.
- A process that died is answered with HTTP 502 and `Runtime.ExitError`, at once if it was at work. Died it while idle,
  the next invocation gets that answer. An answer of more than 6 MB is HTTP 502 and `Function.ResponseSizeTooLarge`.
- After each of these the next invocation starts a new process, as Lambda does.
- Every invocation waits for its answer: `X-Amz-Invocation-Type: Event` is ignored. `X-Amzn-RequestId` is honoured.
- A second invocation beside a running one brings the emulator down. So they go one at a time, as in one instance of
  a function; for instances side by side, start an emulator for each.
"""

import http.client
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / ".aws-sam" / "build" / "DeletionFunction"
RUNTIME = ROOT / ".local" / "lambda"  # awslambdaric and what it needs, nothing else
_EMULATOR = "lib/python3.13/site-packages/samcli/local/rapid/aws-lambda-rie-{}"
_ARCHITECTURES = {"aarch64": "arm64", "arm64": "arm64"}
_START_SECONDS = 10
_GRACE_SECONDS = 15  # for the emulator to answer after the function's own time-out


class FunctionError(Exception):
    """The invocation failed: the function raised, ran out of time or died. `error_type` is Lambda's name for it."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class RuntimeEmulator:
    """One instance of the function. Use it as a context manager; the process is gone afterwards, whatever happened.

    `environment` is what the template gives the function; nothing of this process's own environment reaches it.
    `timeout` is in seconds, `memory` in MB: the function sees it, but it is not enforced.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        timeout: int,
        memory: int = 1024,
        handler: str = "handler.app.lambda_handler",
        package: Path = PACKAGE,
    ) -> None:
        self._timeout = timeout
        # An address of our own in 127.0.0.0/8, where fixed ports cannot be anyone else's.
        self._host = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])  # noqa: S311  # no secret
        self._package = package
        self._command = [sys.executable, "-S", "-m", "awslambdaric", handler]  # -S: no site-packages
        self._environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's /var/task cannot be written
            **environment,
            "AWS_LAMBDA_FUNCTION_NAME": "DeletionFunction",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            "LAMBDA_TASK_ROOT": str(package),
            "PYTHONPATH": os.pathsep.join([str(package), str(RUNTIME)]),
        }
        self._turn = threading.Lock()
        self._log = tempfile.NamedTemporaryFile(prefix="rie-", suffix=".log")  # noqa: SIM115  # closed by __exit__
        self._emulator: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        emulator = ROOT / ".venv-sam" / _EMULATOR.format(architecture)
        for needed in (emulator, self._package, RUNTIME):
            if not needed.exists():
                raise FileNotFoundError(f"{needed} is missing: `make build` makes what the emulator needs")
        self._emulator = subprocess.Popen(
            [
                emulator,
                *("--runtime-interface-emulator-address", f"{self._host}:8080"),
                *("--runtime-api-address", f"{self._host}:9001"),
                *self._command,
            ],
            cwd=self._package,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_for_start(self._emulator)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._emulator is None:
            return
        self.kill()
        self._emulator.terminate()
        try:
            self._emulator.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            self._emulator.kill()
            self._emulator.wait()
        self._emulator = None
        self._log.close()

    def invoke(self, event: Any, *, request_id: str | None = None) -> Any:
        """The function's answer to an event. Raises FunctionError if it gave none.

        `request_id` sets the Lambda request id, for instance to invoke again as Lambda's own retries do.
        """
        headers = {"X-Amzn-RequestId": request_id} if request_id else {}
        with self._turn:
            connection = http.client.HTTPConnection(self._host, 8080, timeout=self._timeout + _GRACE_SECONDS)
            try:
                path = "/2015-03-31/functions/function/invocations"
                connection.request("POST", path, json.dumps(event).encode(), headers)
                response = connection.getresponse()
                status, body = response.status, response.read()
            finally:
                connection.close()
        if body.startswith(b"Task timed out"):
            raise FunctionError("Sandbox.Timedout", body.decode())
        answer = json.loads(body) if body else None
        if isinstance(answer, dict) and "errorType" in answer:
            raise FunctionError(answer["errorType"], answer["errorMessage"])
        if status != http.HTTPStatus.OK:
            raise FunctionError("Runtime.ExitError", f"HTTP {status} {body.decode(errors='replace')}")
        return answer

    def kill(self) -> bool:
        """SIGKILL for the function's process, at work or idle. False if there was none to kill."""
        if (pid := self.pid) is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    @property
    def pid(self) -> int | None:
        """The function's process, or None before the first invocation and after a death."""
        if self._emulator is None:
            return None
        for children in Path(f"/proc/{self._emulator.pid}/task").glob("*/children"):
            try:
                if pids := children.read_text().split():
                    return int(pids[0])
            except (FileNotFoundError, ProcessLookupError):  # that thread has ended meanwhile
                continue
        return None

    @property
    def rss(self) -> int:
        """Bytes of memory that the function's process holds; 0 if there is none."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        return int(sizes.get("VmRSS", "0 kB").split()[0]) * 1024

    @property
    def logs(self) -> str:
        """All that the function and the emulator have written so far."""
        return Path(self._log.name).read_text(errors="replace")

    def _wait_for_start(self, emulator: subprocess.Popen[bytes]) -> None:
        """It is ready when both its ports take connections: the one for invocations, the one for the runtime."""
        deadline = time.monotonic() + _START_SECONDS
        for port in (8080, 9001):
            while True:
                try:
                    socket.create_connection((self._host, port), timeout=1).close()
                    break
                except OSError as error:
                    if emulator.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"the runtime interface emulator did not start:\n{self.logs}") from error
                    time.sleep(0.01)
