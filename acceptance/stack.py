"""The deployed stack, as its outputs and parameters show it. What names its queues and functions is here alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from botocore.exceptions import ClientError

from .aws import Clients
from .safety import UnsafeError


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of this project."""

    name: str
    account: str
    region: str
    partition: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]

    @classmethod
    def read(cls, clients: Clients, name: str) -> Self:
        """Reads it. Raises UnsafeError if there is no such stack of this project."""
        try:
            [stack] = clients("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            raise UnsafeError(f"the stack {name} cannot be read in {clients.region}: {error}") from error
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        if "RequestQueueUrl" not in outputs:
            raise UnsafeError(f"{name} is no stack of this project: it has no output RequestQueueUrl")
        _, partition, _, region, account, *_ = outputs["FunctionArn"].split(":")
        parameters = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}
        return cls(name, account, region, partition, parameters, outputs)

    @property
    def redrive_arn(self) -> str:
        """The queue that dead letters are sent back to."""
        return self.outputs.get("BulkQueueArn", self.outputs["RequestQueueArn"])

    @property
    def function(self) -> str:
        """The function that is invoked with requests."""
        return self.outputs["FunctionName"]

    @property
    def usage_function(self) -> str:
        """The function that reads what is in use."""
        return self.outputs["UsageFunctionName"]

    @property
    def event_source(self) -> str:
        """A source whose events the stack takes."""
        return self.parameters.get("EventSources", "").split(",")[0].strip() or "ecr-image-deletion.acceptance"

    def alarm_name(self, clients: Clients, logical_name: str) -> str:
        """Returns the name of one of the stack's alarms."""
        answer = clients("cloudformation").describe_stack_resource(StackName=self.name, LogicalResourceId=logical_name)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])


def lacking(parameter: str, parameters: Mapping[str, str], prefix: str) -> str:
    """Returns what to deploy so that a check can be made that needs this parameter; empty where it can be."""
    fits, advice = _NEEDED[parameter]
    return "" if fits(parameters.get(parameter, ""), parameters, prefix) else f"{parameter}={advice.format(prefix)}"


type _Fits = Callable[[str, Mapping[str, str], str], bool]

_NEEDED: Mapping[str, tuple[_Fits, str]] = {
    "AllowArchive": (lambda value, all_, _: value == "true" or all_.get("GracePeriodDays", "0") != "0", "true"),
    "BulkTimeout": (lambda value, *_: value == "120", "120"),  # or a dead letter takes hours
    "EventBusName": (lambda value, *_: value != "", "default"),
    "EventRepositoryPrefix": (lambda value, _, prefix: prefix.startswith(value), "{}"),
    "GracePeriodDays": (lambda value, *_: value in {"", "0"}, "0"),  # or selections archive what they delete
    "KmsKeyArn": (lambda value, *_: value != "", "<a key of yours>"),
    "MaxPercentOfRepository": (lambda value, *_: int(value or 50) >= 50, "50"),  # noqa: PLR2004  # what is selected
    "ProtectInUse": (lambda value, *_: "lambda" in value.split(","), "lambda"),
    "ProtectedTags": (lambda value, *_: value != "", "release-*"),
    "ResultEvents": (lambda value, *_: value == "all", "all"),
}
"""For each parameter: whether its value fits, seen with the others and the prefix; and a value that does."""
