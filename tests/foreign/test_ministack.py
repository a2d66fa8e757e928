"""The template deploys into an emulator that nobody here wrote, and its own Lambda does the main job there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.images import push_image
from local.template import cloudformation
from tests.foreign.conftest import LEFT_OUT, Foreign, until

type Json = dict[str, Any]

EVENTS = Path(__file__).parents[2] / "events"


@pytest.fixture
def repository(stack: Foreign, request: pytest.FixtureRequest) -> str:
    """A repository of the test's own, with an image that is to go and one that is to stay."""
    name = f"team/{request.node.name.removeprefix('test_').replace('_', '-')}"[:100]
    stack.client("ecr").create_repository(repositoryName=name)
    for tag in ("old", "latest"):
        push_image(stack.client("ecr"), name, tags=[tag])
    return name


@pytest.fixture(scope="module")
def notices(stack: Foreign) -> Callable[[], list[Json]]:
    """Subscribes a queue to the stack's topic; returns what reads the notices that have arrived in it."""
    sqs = stack.client("sqs")
    url = sqs.create_queue(QueueName="notices")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    stack.client("sns").subscribe(
        TopicArn=stack.outputs["NotificationTopicArn"],
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
    )
    arrived: list[Json] = []

    def read() -> list[Json]:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            arrived.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return arrived

    return read


def tags(stack: Foreign, repository: str) -> set[str]:
    """The tags that a repository has."""
    ids = stack.client("ecr").list_images(repositoryName=repository)["imageIds"]
    return {image_id["imageTag"] for image_id in ids if "imageTag" in image_id}


def until_deleted(stack: Foreign, repository: str) -> None:
    """Waits until the image that is to go is gone; the other one must be there."""
    until(lambda: "old" not in tags(stack, repository), f"deletion in {repository}:\n{stack.log.read_text()[-3000:]}")
    assert tags(stack, repository) == {"latest"}


def test_everything_is_deployed_but_what_is_named(stack: Foreign) -> None:
    """Each resource of the template, with a reason for each that is not."""
    summaries = stack.client("cloudformation").list_stack_resources(StackName="ecr-image-deletion")
    deployed = {resource["LogicalResourceId"] for resource in summaries["StackResourceSummaries"]}
    unwanted = {"HasNotificationEmail", "HasForeignRegistries", "HasKmsKey", "HasSchedulerAndKmsKey"}
    # A list that is empty counts as one there: the sources of use are read by a stack that wants none.
    unwanted |= {"HasDeclaredUse", "ProtectsInUseAndHasKmsKey"}
    expected = {
        name
        for name, resource in cloudformation()["Resources"].items()
        if resource["Type"] not in LEFT_OUT and name not in LEFT_OUT and resource.get("Condition") not in unwanted
    }
    assert deployed == expected
    assert ":role/ecr-image-deletion/" in stack.outputs["FunctionRoleArn"]


def test_a_message(stack: Foreign, repository: str) -> None:
    """The event source mapping hands it to the function, which deletes the image, and the queue is empty."""
    stack.send(json.dumps({"repositoryName": repository, "imageIds": ["imageTag=old"]}))
    until_deleted(stack, repository)


def test_a_message_for_several_repositories(stack: Foreign, repository: str) -> None:
    """It moves to the bulk queue, whose own mapping hands it to the other function; so does what follows from it."""
    stack.send(json.dumps({"repositoryNames": [repository], "imageIds": ["imageTag=old"]}))
    until_deleted(stack, repository)


def test_an_event_on_the_bus(stack: Foreign, repository: str) -> None:
    """The rule sends it to the queue."""
    event = json.loads((EVENTS / "eventbridge.json").read_text())
    detail = {"repositoryName": repository, "imageIds": ["imageTag=old"]}
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(detail)}
    assert stack.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    until_deleted(stack, repository)


def test_a_result_is_an_event(stack: Foreign, repository: str) -> None:
    """A rule of its EventBridge finds it, by what the guide says; the stack's own rule takes it for no request."""
    sqs, events = stack.client("sqs"), stack.client("events")
    url = sqs.create_queue(QueueName="results")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    body = json.dumps({"repositoryName": repository, "imageIds": ["imageTag=old", "imageTag=none"], "requestId": "r-1"})
    pattern = {"source": ["ecr-image-deletion"], "detail": {"data": {"requestId": ["r-1"], "actionRequired": [False]}}}
    events.put_rule(Name="results", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="results", Targets=[{"Id": "queue", "Arn": arn}])
    message_id = sqs.send_message(QueueUrl=stack.outputs["RequestQueueUrl"], MessageBody=body)["MessageId"]

    [received] = until(lambda: sqs.receive_message(QueueUrl=url).get("Messages"), "result event")

    event = json.loads(received["Body"])
    assert event["detail-type"] == "ECR Image Deletion Completed"
    assert event["resources"] == [f"arn:aws:ecr:us-east-1:000000000000:repository/{repository}"]
    data = event["detail"]["data"]
    assert (data["origin"]["id"], data["deleted"]) == (message_id, 1)
    assert [failure["failureCode"] for failure in data["failures"]] == ["ImageNotFound"]


def test_by_hand(stack: Foreign, repository: str, notices: Callable[[], list[Json]]) -> None:
    """The answer is that of the CLI, and what could not be deleted is a notice, once."""
    request = {"repositoryName": repository, "imageIds": ["imageTag=old", "imageTag=none"], "requestId": repository}
    for _ in range(2):  # the second one replays the first
        answer = stack.client("lambda").invoke(
            FunctionName=stack.outputs["FunctionArn"], Payload=json.dumps(request).encode()
        )
        report = json.loads(answer["Payload"].read())
        assert [image_id["imageTag"] for image_id in report["imageIds"]] == ["old"]
        assert [failure["failureCode"] for failure in report["failures"]] == ["ImageNotFound"]
    assert tags(stack, repository) == {"latest"}
    until(lambda: [notice for notice in notices() if notice.get("requestId") == repository], "notice")
    assert len([notice for notice in notices() if notice.get("requestId") == repository]) == 1


def test_a_request_that_can_never_work(stack: Foreign, notices: Callable[[], list[Json]]) -> None:
    """It is reported once, and ends in the dead-letter queue as it was sent."""
    sqs = stack.client("sqs")
    # Twelve minutes between two receives are more than a test has.
    sqs.set_queue_attributes(QueueUrl=stack.outputs["RequestQueueUrl"], Attributes={"VisibilityTimeout": "1"})
    stack.send('{"repositoryName": "team/app"}')

    def dead_letters() -> list[Json]:
        received: list[Json] = sqs.receive_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"]).get("Messages", [])
        return received

    [letter] = until(dead_letters, "dead letter")

    assert letter["Body"] == '{"repositoryName": "team/app"}'
    assert len([notice for notice in notices() if notice["type"] == "rejection"]) == 1


def test_what_runs_stays(guarded: Foreign, repository: str) -> None:
    """Its ECS and its Lambda say what runs, its own Lambda reads them, and the guard knows it."""
    ecs, functions = guarded.client("ecs"), guarded.client("lambda")
    uri = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{repository}"
    for tag in ("task", "function"):
        push_image(guarded.client("ecr"), repository, tags=[tag])
    ecs.create_cluster(clusterName="prod")
    containers = [{"name": "web", "image": f"{uri}:task", "memory": 128}]
    definition = ecs.register_task_definition(family="web", containerDefinitions=containers)["taskDefinition"]
    ecs.create_service(
        cluster="prod", serviceName="web", taskDefinition=definition["taskDefinitionArn"], desiredCount=1
    )
    role = "arn:aws:iam::000000000000:role/function"
    functions.create_function(FunctionName="api", PackageType="Image", Code={"ImageUri": f"{uri}:function"}, Role=role)
    request = {"repositoryName": repository, "imageIds": ["imageTag=old", "imageTag=task", "imageTag=function"]}

    def invoke(name: str, event: Json) -> Any:
        answer = functions.invoke(FunctionName=guarded.outputs[name], Payload=json.dumps(event).encode())
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        return payload

    codes = [failure["failureCode"] for failure in invoke("FunctionName", request)["failures"]]
    assert codes == ["UsageUnknown"] * 3
    invoke("UsageFunctionName", {})
    failures = invoke("FunctionName", request)["failures"]
    assert [failure["failureCode"] for failure in failures] == ["ImageInUse"] * 2
    assert "ECS service web in cluster prod" in failures[0]["failureReason"]
    assert "Lambda function api:$LATEST" in failures[1]["failureReason"]
    assert tags(guarded, repository) == {"latest", "task", "function"}
