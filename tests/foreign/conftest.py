"""ministack, an emulator of AWS that others wrote, with the template and the built package deployed into it."""

import io
import json
import os
import socket
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.aws import DEFAULT_PARAMETERS, REGION
from local.rie import PACKAGE
from local.template import cloudformation

type Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-foreign" / "bin" / "ministack"
BUCKET = "packages"
SECONDS = 60
"""More than anything here takes."""

FUNCTIONS = ("DeletionFunction", "BulkFunction", "UsageFunction")

LEFT_OUT = {
    "AWS::ECR::PullTimeUpdateExclusion": "not in ministack",
    "AWS::Logs::QueryDefinition": "not in ministack",
    "MoreDeadLettersAlarm": "ministack makes no alarm of computed metrics",
}
"""Types of resource, and resources, that cannot be deployed there, and why."""


def until[T](find: Callable[[], T], what: str) -> T:
    """Returns what is found as soon as it is."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError(f"no {what} after {SECONDS} seconds")


@dataclass
class Foreign:
    """A running ministack, and the stack in it."""

    endpoint_url: str
    log: Path
    stack_name: str = "ecr-image-deletion"

    def client(self, service: str) -> Any:
        """A client that reaches it alone."""
        session = boto3.Session("testing", "testing", region_name=REGION)
        connect: Any = session.client  # typed for each service by its literal name
        config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=SECONDS)
        return connect(service, endpoint_url=self.endpoint_url, config=config)

    def deploy(self, template: Json, parameters: dict[str, str]) -> None:
        """Deploys a template, and raises AssertionError where that fails."""
        s3, stacks = self.client("s3"), self.client("cloudformation")
        s3.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(template).encode())
        stacks.create_stack(
            StackName=self.stack_name,
            TemplateURL=f"{self.endpoint_url}/{BUCKET}/template.json",
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )

        def status() -> str:
            [stack] = stacks.describe_stacks(StackName=self.stack_name)["Stacks"]
            return "" if stack["StackStatus"].endswith("IN_PROGRESS") else str(stack["StackStatus"])

        events = stacks.describe_stack_events(StackName=self.stack_name)["StackEvents"]
        assert until(status, "stack") == "CREATE_COMPLETE", events

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        [stack] = self.client("cloudformation").describe_stacks(StackName=self.stack_name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def send(self, body: str) -> None:
        """Puts a message on the request queue."""
        self.client("sqs").send_message(QueueUrl=self.outputs["RequestQueueUrl"], MessageBody=body)


def package(function: str) -> bytes:
    """The built package of a function, as it is uploaded."""
    folder = PACKAGE.with_name(function)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def deployable() -> Json:
    """The translated template, with its code in the bucket and without what ministack cannot deploy."""
    template: Json = json.loads(json.dumps(cloudformation()))
    resources = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] not in LEFT_OUT and name not in LEFT_OUT
    }
    for function in FUNCTIONS:
        resources[function]["Properties"]["Code"] = {"S3Bucket": BUCKET, "S3Key": f"{function}.zip"}
    # A parameter that is a number stays text there, which its poller and its Lambda cannot compare with one.
    defaults = {name: entry.get("Default") for name, entry in template["Parameters"].items()}
    for function, concurrency in (("DeletionFunction", "MaxConcurrency"), ("BulkFunction", "BulkMaxConcurrency")):
        mapping = resources[f"{function}Requests"]["Properties"]
        mapping["ScalingConfig"] = {"MaximumConcurrency": defaults[concurrency]}
    bulk = {"Timeout": defaults["BulkTimeout"], "MemorySize": defaults["BulkMemorySize"]}
    resources["BulkFunction"]["Properties"] |= bulk
    text = json.dumps(template | {"Resources": resources})
    # What is left out is not there to be admitted to the topic or shown on the dashboard.
    text = text.replace('{"Fn::GetAtt": ["MoreDeadLettersAlarm", "Arn"]}', '{"Ref": "AWS::NoValue"}')
    text = text.replace('\\"${MoreDeadLettersAlarm.Arn}\\", ', "")
    deployed: Json = json.loads(text)
    return deployed


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    """The emulator in a process of its own, on a port of loopback that is free."""
    folder = tmp_path_factory.mktemp("ministack")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "BIND_HOST": "127.0.0.1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PATH": f"{PROGRAM.parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen([PROGRAM], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        foreign = Foreign(f"http://127.0.0.1:{port}", log)

        def healthy() -> bool:
            try:
                with urllib.request.urlopen(f"{foreign.endpoint_url}/_ministack/health", timeout=1) as answer:  # noqa: S310  # loopback
                    return bool(answer.status == 200)
            except OSError:
                return False

        try:
            until(healthy, "answer of ministack")
            yield foreign
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def stack(ministack: Foreign) -> Foreign:
    """The stack, with the package that `sam build` made, and ministack's own Lambda to run it."""
    s3 = ministack.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for function in FUNCTIONS:
        s3.put_object(Bucket=BUCKET, Key=f"{function}.zip", Body=package(function))
    parameters = DEFAULT_PARAMETERS | {"CanaryRepository": "team/app", "EventRepositoryPrefix": "team/"}
    parameters |= {"GracePeriodDays": "30", "ResultEvents": "all", "ChatNotices": "true"}
    # A list that is empty counts as one there, in a condition as well: the rule would ask for the source "".
    ministack.deploy(deployable(), parameters | {"EventSources": "com.example.ci"})
    return ministack


@pytest.fixture(scope="session")
def guarded(stack: Foreign) -> Foreign:
    """A second stack beside it, which protects what ECS and Lambda use; its Inspector covers no image."""
    other = replace(stack, stack_name="images-in-use")
    parameters = {"RepositoryPattern": "*", "EventSources": "none", "ProtectInUse": "ecs,lambda"}
    other.deploy(deployable(), parameters)
    return other
