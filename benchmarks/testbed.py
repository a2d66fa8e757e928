"""Runs what is compared, against fake services: the function in fresh processes, the AWS CLI, the runtime emulator."""

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from benchmarks.fake_ecr import PAGE
from benchmarks.function_under_test import (
    CHUNK_SIZE,
    PACKAGE,
    ROOT,
    environment,
    image_ids,
    request,
    usage_environment,
)
from benchmarks.http_server import Server
from local.rie import RuntimeEmulator

AWS = ROOT / ".venv-sam" / "bin" / "aws"
PLAIN = Path(sysconfig.get_path("purelib"))
"""Where boto3 is as pip installs it, of the same version, with the models of all services."""

_BARE_CALLS = 9
"""Of which the middle one counts."""


@dataclass
class Testbed:
    """The fake services, and what runs against them. Use it as a context manager."""

    package: Path = PACKAGE
    ecr: Server = field(default_factory=Server)
    others: Server = field(default_factory=Server)
    """DynamoDB and SNS."""
    workloads: Server = field(default_factory=Server)
    """ECS and Lambda."""
    _repositories: int = 0

    def __enter__(self) -> Self:
        self.ecr.__enter__()
        self.others.__enter__()
        self.workloads.__enter__()
        # The first start on a machine compiles what is started, and is not what is measured.
        self.cli(1)
        self.measure("boto3_cold_start", home=PLAIN, clients=["ecr"])
        return self

    def __exit__(self, *_: object) -> None:
        self.ecr.__exit__()
        self.others.__exit__()
        self.workloads.__exit__()

    @property
    def environment(self) -> Mapping[str, str]:
        return environment(self.ecr.url, self.others.url)

    @property
    def bulk_package(self) -> Path:
        """The package of the function that takes selections, beside that of the other."""
        return self.package.parent / "BulkFunction"

    @property
    def usage_home(self) -> tuple[Path, ...]:
        """Where the function is that reads what is in use: its package, or before there is one, its source."""
        built = self.package.parent / "UsageFunction"
        return (built,) if built.exists() else (ROOT / "src", PLAIN)

    @contextmanager
    def ecr_latency(self, seconds: float, *, others: float = 0.0) -> Iterator[None]:
        """Has ECR take so many seconds for a call meanwhile, and the others so many."""
        self.ecr.latency, self.others.latency = seconds, others
        try:
            yield
        finally:
            self.ecr.latency = self.others.latency = 0

    def measure(self, name: str, *, home: Path | None = None, log: Any = subprocess.DEVNULL, **arguments: Any) -> Any:
        """Takes a measurement of measured_process, in a process that finds `home` alone: by default, the package.

        `log` takes what the function logs.
        """
        package = home in {None, self.bulk_package}
        read_only = {"PYTHONDONTWRITEBYTECODE": "1"} if package else {}  # Lambda's /var/task cannot be written
        environment = {**self.environment, **read_only}
        return _measure("measured_process", name, (home or self.package,), environment, log, arguments)

    def select(self, **arguments: Any) -> Any:
        """Measures a selection, in a process of the function that takes them."""
        return self.measure("selection", home=self.bulk_package, **arguments)

    def measure_reading(self, name: str, *, clusters: int, table: str = "none", **arguments: Any) -> Any:
        """Takes a measurement of measured_reading, in an account with so many clusters."""
        environment = usage_environment(self.workloads.url, self.others.url, clusters=clusters, table=table)
        home = (PLAIN,) if name == "scan" else self.usage_home
        return _measure("measured_reading", name, home, environment, subprocess.DEVNULL, arguments)

    def bare_deletion(self) -> float:
        """Returns the seconds that ECR takes to delete 100 images, for a client that only sends and receives."""
        self._repositories += 1
        names = (f"bare/{self._repositories}/{number}" for number in range(_BARE_CALLS))
        return self._bare_calls("BatchDeleteImage", [request(name, image_ids(CHUNK_SIZE)) for name in names])

    def bare_page(self, images: int) -> float:
        """Returns the same of a page of a list, in a repository of so many."""
        call = {"repositoryName": f"listing/{images}/bare", "maxResults": PAGE, "filter": {"tagStatus": "TAGGED"}}
        return self._bare_calls("DescribeImages", [call] * _BARE_CALLS)

    def _bare_calls(self, operation: str, calls: Sequence[Mapping[str, Any]]) -> float:
        headers = {"X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{operation}"}
        seconds = []
        with closing(HTTPConnection(self.ecr.url.removeprefix("http://"))) as connection:
            for call in calls:
                start = time.perf_counter()
                connection.request("POST", "/", json.dumps(call), headers)
                answer = connection.getresponse().read()
                seconds.append(time.perf_counter() - start)
                assert not json.loads(answer).get("failures"), answer  # noqa: S101  # to fail is another kind of work
        return statistics.median(seconds)

    def cli(self, images: int) -> float:
        """Returns the seconds that `aws ecr batch-delete-image` takes for one call."""
        self._repositories += 1
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(request(f"cli/{self._repositories}", image_ids(images)), file)
            file.flush()
            return self._aws("batch-delete-image", "--cli-input-json", f"file://{file.name}")

    def cli_list(self, images: int) -> float:
        """Returns the seconds that `aws ecr list-images` takes for a repository of so many."""
        return self._aws("list-images", "--repository-name", f"listing/{images}/cli", "--page-size", "1000")

    def _aws(self, *arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([str(AWS), "ecr", *arguments], env=self.environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    def emulator(self) -> float:
        """Returns the seconds until the first answer in Lambda's runtime: its process starts with the request."""
        self._repositories += 1
        with RuntimeEmulator(self.environment, timeout=60, package=self.package) as function:
            start = time.perf_counter()
            answer = function.invoke(request(f"emulator/{self._repositories}", image_ids(1)))
            seconds = time.perf_counter() - start
        assert not answer["failures"], answer  # noqa: S101  # a benchmark of failures would be none
        return seconds


def _measure(
    module: str,
    name: str,
    home: Sequence[Path],
    environment: Mapping[str, str],
    log: Any,
    arguments: Mapping[str, Any],
) -> Any:
    """Runs a measurement in a process that finds `home` and what measures alone."""
    process = subprocess.run(
        [sys.executable, "-S", "-m", f"benchmarks.{module}", name, json.dumps(arguments)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, [*home, ROOT]))},
        stdout=subprocess.PIPE,
        stderr=log,
        check=True,
    )
    return json.loads(process.stdout)
