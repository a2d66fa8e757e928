"""The state machine of examples/ asks for what the function takes, tries again what it may, and may do nothing else."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend

from handler.models import errors
from handler.models.images import ImageId
from handler.models.limits import KEY_CHARACTERS
from handler.models.report import DeletionReport
from tests.examples import EXAMPLES, Json, check_request, resolve, stack, template
from tests.policies import verdict
from tests.values import deletion_request

RESOURCES = template("distributed-map/template.yaml")["Resources"]
README = (EXAMPLES / "distributed-map" / "README.md").read_text()
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:bulk"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:map"
NAMES = {
    "BulkFunctionArn": FUNCTION,
    "Bucket": "bucket",
    "Bucket.Arn": "arn:aws:s3:::bucket",
    "StateMachine": MACHINE,
    "StateMachine.Name": "map",
    "Role.Arn": "arn:aws:iam::123456789012:role/map",
}
DEFINITION: Json = resolve(RESOURCES["StateMachine"]["Properties"]["Definition"], NAMES)
MAP = DEFINITION["States"]["Repositories"]
MAP["ToleratedFailurePercentage"] = float(MAP["ToleratedFailurePercentage"])  # moto reads no other number there
TASK = MAP["ItemProcessor"]["States"]["Delete"]
INPUT = {
    "list": "all.csv",
    "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5},
    "dryRun": True,
}


@pytest.fixture
def payloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Json]]:
    """What the function is invoked with, in a Step Functions of moto's in which it answers with that."""
    invoked: list[Json] = []

    def invoke(_: object, function_name: str, qualifier: object, body: str, *rest: object) -> bytes:
        del qualifier, rest
        assert function_name == FUNCTION
        payload = json.loads(body)
        invoked.append(payload)
        return json.dumps({"requestId": payload["requestId"]}).encode()

    monkeypatch.setattr(LambdaSimpleBackend, "invoke", invoke)
    config: Any = {"lambda": {"use_docker": False}, "stepfunctions": {"execute_state_machine": True}}
    with mock_aws(config=config):
        yield invoked


def client(service: str) -> Any:
    """A client of moto's AWS."""
    return boto3.client(service, region_name="eu-west-1")  # type: ignore[call-overload]  # any service


def execute(name: str, given: Json) -> Json:
    """Runs the state machine over three repositories; returns its execution once it has ended."""
    s3, states = client("s3"), client("stepfunctions")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="bucket", Key="lists/all.csv", Body=b"repositoryName\nteam/a\nteam/b\nteam/c\n")
    machine = states.create_state_machine(
        name="map", definition=json.dumps(DEFINITION), roleArn="arn:aws:iam::123456789012:role/map"
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine, name=name, input=json.dumps(given))["executionArn"]
    for _ in range(200):
        described: Json = states.describe_execution(executionArn=execution)
        if described["status"] != "RUNNING":
            return described
        time.sleep(0.05)
    raise AssertionError("the execution does not end")


def test_each_repository_of_the_list_is_asked_for_once(payloads: list[Json]) -> None:
    """With a request that the function takes, whose requestId is of the execution and the repository."""
    execution = execute("nightly", INPUT)

    assert execution["status"] == "SUCCEEDED", execution
    for payload in payloads:
        check_request(json.dumps(payload))
        assert (payload["selection"], payload["dryRun"]) == (INPUT["selection"], True)
    asked = sorted((payload["requestId"], payload["repositoryName"]) for payload in payloads)
    assert asked == [(f"nightly/team/{name}", f"team/{name}") for name in "abc"]
    [manifest] = client("s3").list_objects_v2(Bucket="bucket", Prefix="results/")["Contents"]
    assert manifest["Key"].endswith("/manifest.json")


@pytest.mark.parametrize("missing", ["list", "selection", "dryRun"])
def test_an_execution_that_leaves_something_out_deletes_nothing(payloads: list[Json], missing: str) -> None:
    """Nobody runs a deletion in earnest by forgetting to say that it is not."""
    given = {name: value for name, value in INPUT.items() if name != missing}
    execute("nightly", given)
    assert not payloads


def test_what_may_work_later_is_tried_again_and_what_is_rejected_is_not() -> None:
    """Every error of the function that a redelivery would cure, for longer than an invocation that died may last."""
    unfinished = {kind.__name__ for kind in errors.UnfinishedRequestError.__subclasses__()}
    rejected, lambdas, later = TASK["Retry"]
    assert rejected == {"ErrorEquals": [errors.RejectedRequestError.__name__], "MaxAttempts": 0}
    assert unfinished < set(later["ErrorEquals"])
    assert not unfinished & set(lambdas["ErrorEquals"])
    waited = sum(later["IntervalSeconds"] * later["BackoffRate"] ** n for n in range(later["MaxAttempts"]))
    timeout = max(stack()["Parameters"]["BulkTimeout"]["AllowedValues"])
    assert waited > timeout
    assert TASK["TimeoutSeconds"] > timeout
    assert MAP["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def test_the_role_may_do_what_the_state_machine_does_and_nothing_else() -> None:
    """In its own bucket, with the function, and with its own executions."""
    policy = resolve(RESOURCES["RolePolicy"]["Properties"]["PolicyDocument"], NAMES)["Statement"]
    execution = MACHINE.replace("stateMachine", "execution")
    allowed = {
        ("lambda:InvokeFunction", FUNCTION),
        ("s3:GetObject", "arn:aws:s3:::bucket/lists/all.csv"),
        ("s3:PutObject", "arn:aws:s3:::bucket/results/run/manifest.json"),
        ("states:StartExecution", MACHINE),
        ("states:DescribeExecution", f"{execution}/{MAP['Label']}:child"),
        ("states:RedriveExecution", f"{execution}/{MAP['Label']}:child"),
    }
    refused = {
        ("lambda:InvokeFunction", f"{FUNCTION}-other"),
        ("s3:PutObject", "arn:aws:s3:::bucket/lists/all.csv"),
        ("s3:DeleteObject", "arn:aws:s3:::bucket/results/run/manifest.json"),
        ("states:StartExecution", f"{MACHINE}-other"),
        ("states:StopExecution", f"{execution}-other/{MAP['Label']}:child"),
    }
    for action, resource in allowed | refused:
        expected = "allowed" if (action, resource) in allowed else "not mentioned"
        assert verdict(policy, action=action, resource=resource, context={}) == expected, action
    [trust] = resolve(RESOURCES["Role"]["Properties"]["AssumeRolePolicyDocument"], NAMES)["Statement"]
    assert trust["Principal"] == {"Service": "states.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_the_bucket_is_private_encrypted_and_outlives_the_stack() -> None:
    """And only what is asked for over encrypted connections is answered."""
    bucket = RESOURCES["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    policy = resolve(RESOURCES["BucketPolicy"]["Properties"]["PolicyDocument"], NAMES)["Statement"]
    resource, context = "arn:aws:s3:::bucket/results/x", {"aws:SecureTransport": "false"}
    assert verdict(policy, action="s3:GetObject", resource=resource, context=context) == "denied"


def test_what_the_document_says_is_so() -> None:
    """Of limits, and of the map's settings."""
    assert f"at most {KEY_CHARACTERS} characters" in README
    assert f"more than {MAP['ToleratedFailurePercentage']:g} % of the children fail" in README
    assert f"{MAP['MaxConcurrency']} children need {MAP['MaxConcurrency']} of" in README
    assert f"`MaxImagesPerRequest` is {stack()['Parameters']['MaxImagesPerRequest']['Default']:,} by default" in README
    assert "BulkFunctionArn" in stack()["Outputs"]


@pytest.mark.parametrize(("images", "tags", "entry"), [(2_850, 0, 92), (2_100, 1, 125), (700, 3, 125)])
def test_as_many_images_as_the_document_says_fit_into_an_answer(images: int, tags: int, entry: int) -> None:
    """Of 256 KiB, within a hundredth; each tag has an entry."""
    names: list[str | None] = [f"{n:017}" for n in range(tags)] or [None]
    gone = tuple(ImageId(f"sha256:{n:064x}", name) for n in range(images) for name in names)
    answer = json.dumps(DeletionReport(deletion_request(), gone).to_answer("123456789012"))
    assert len(answer) == pytest.approx(256 * 1_024, rel=0.01)
    assert len(answer) // len(gone) == entry
    assert f"{images:,} images without" in README or f" {images:,} with " in README
    assert f"{entry} bytes for" in README or f"{entry} for each tag of 17 characters" in README
