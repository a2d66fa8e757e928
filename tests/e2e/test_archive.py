"""Archive, restore and the grace period, with the package as it is deployed."""

import json

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_index
from local.rie import RuntimeEmulator
from local.template import cloudformation
from tests.fakes.lambda_ import sqs_record

DAILY = cloudformation()["Resources"]["GracePeriodRule"]["Properties"]["Targets"][0]["Input"]


@pytest.fixture
def parameters() -> dict[str, str]:
    """A stack with a grace period."""
    return {"GracePeriodDays": "30", "MaxPercentOfRepository": "100"}


def test_a_selection_can_be_undone(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """It archives whole images, its answer says how they come back, and the daily request deletes nothing too soon."""
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="team/one")
    child = push_image(ecr, "team/one")
    index = push_index(ecr, "team/one", [child], tags=["pr-1"])

    def statuses() -> set[str]:
        details = ecr.describe_images(repositoryName="team/one", filter={"imageStatus": "ANY"})["imageDetails"]
        assert {detail["imageDigest"] for detail in details} == {child, index}
        return {detail["imageStatus"] for detail in details}

    selection = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
    answer = function.invoke({"repositoryName": "team/one", "selection": selection})
    assert (answer["archivedCount"], answer["failures"], statuses()) == (2, [], {"ARCHIVED"})
    bulk = aws.outputs["BulkQueueArn"]
    assert function.invoke({"Records": [sqs_record("daily", DAILY, queue=bulk)]}) == {"batchItemFailures": []}
    [message] = aws.messages("BulkQueue")
    assert json.loads(message)["request"]["repositoryName"] == "team/one"
    assert function.invoke({"Records": [sqs_record("child", message, queue=bulk)]}) == {"batchItemFailures": []}
    assert statuses() == {"ARCHIVED"}
    assert function.invoke(answer["restoreRequest"])["restoredCount"] == 2
    assert statuses() == {"ACTIVATING"}
