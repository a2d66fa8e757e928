"""Result events, chat messages and a summary, with the package as it is deployed."""

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image
from local.rie import RuntimeEmulator
from tests.fakes.lambda_ import sqs_record


@pytest.fixture
def parameters() -> dict[str, str]:
    """A stack that tells everybody."""
    return {"ResultEvents": "all", "ChatNotices": "true"}


def test_everybody_hears_of_a_fan_out(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """The package has all that it takes: people get one summary, a channel too, and systems an event of each part."""
    aws.listen()
    for name in ("team/one", "team/two"):
        aws.client("ecr").create_repository(repositoryName=name)
        push_image(aws.client("ecr"), name, tags=["pr-1"])
    asked = {"repositoryNames": ["team/*"], "imageIds": ["imageTag=pr-1", "imageTag=gone"], "notify": "summary"}
    assert function.invoke(asked)["repositoryNames"] == ["team/one", "team/two"]
    *parts, look = aws.messages("BulkQueue")
    for number, body in enumerate([*parts, look, "no JSON"]):
        record = sqs_record(f"m-{number}", body, queue=aws.outputs["BulkQueueArn"])
        answer = function.invoke({"Records": [record]})
        assert bool(answer["batchItemFailures"]) == (body == "no JSON")

    assert [notice.data["type"] for notice in aws.notices()] == ["summary", "rejection"]
    assert [notice.chat["metadata"]["eventType"] for notice in aws.notices()] == ["summary", "rejection"]
    assert aws.notices()[0].data["failuresByCode"] == {"ImageNotFound": 2}
    kinds = [event["detail-type"].rpartition(" ")[2] for event in aws.results()]
    assert kinds == ["Completed", "Completed", "Summarized", "Rejected"]
    assert {event["source"] for event in aws.results()} == {aws.stack_name}
    assert aws.results()[2]["detail"]["data"]["repositories"] == 2
