"""The benchmarks run, and what they measure against behaves; the figures themselves are no business of a test."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from benchmarks import fake_workloads, function_under_test, measured_reading, results, testbed
from benchmarks.goals import QUICK, Row
from benchmarks.http_server import READ_UNITS, THROTTLED, WRITE_UNITS, Server, TokenBucket
from benchmarks.plot import Line, Panel, draw
from benchmarks.selections import Calls, Takes

ROOT = Path(__file__).resolve().parent.parent.parent

type Clients = Callable[[str, Server], Any]


@pytest.fixture
def client() -> Clients:
    """Makes clients that try each call once."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    return lambda name, server: boto3.client(name, endpoint_url=server.url, config=config)  # type: ignore[call-overload]


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator is a Linux program")
def test_everything_is_measured_and_reported(tmp_path: Path) -> None:
    """`python -m benchmarks --quick` writes the table, a row for each goal, and a plot that is well-formed."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    page = (tmp_path / "RESULTS.md").read_text()
    assert printed.strip() == page.strip()
    assert page.count("| at least ") + page.count("| at most ") == 12 + 7 + 11
    assert page.count("| none: the more, the better | ") == 2
    assert "| 250 | " in page
    assert ET.parse(tmp_path / "growth.svg").getroot().tag.endswith("svg")  # noqa: S314  # our own


def deployed(name: str) -> tuple[int, int, dict[str, str]]:
    """Returns memory, time-out and variables of a function in the template, at its defaults."""
    template = yaml_parse((ROOT / "template.yaml").read_text())

    def default(value: Any) -> str:
        match value:
            case {"Ref": str(name)} | {"Fn::Join": [_, {"Ref": str(name)}]}:
                return str(template["Parameters"].get(name, {}).get("Default"))
            case {"Fn::If": [_, _, otherwise]}:  # no condition holds by default
                return default(otherwise)
        return str(value)

    properties = template["Resources"][name]["Properties"]
    variables = {name: default(value) for name, value in properties["Environment"]["Variables"].items()}
    return int(default(properties["MemorySize"])), int(default(properties["Timeout"])), variables


@pytest.mark.parametrize(
    ("function", "timeout_seconds"),
    [
        ("DeletionFunction", function_under_test.TIMEOUT_SECONDS),
        ("BulkFunction", function_under_test.BULK_TIMEOUT_SECONDS),
    ],
)
def test_the_functions_are_measured_as_they_are_deployed(function: str, timeout_seconds: int) -> None:
    """Memory, time-out and variables are those of the template; only large requests are let in."""
    memory, timeout, variables = deployed(function)
    measured = function_under_test.environment("", "")

    assert (memory, timeout) == (function_under_test.MEMORY_MB, timeout_seconds)
    assert {name for name, value in variables.items() if measured.get(name) != value} == {
        *("IDEMPOTENCY_TABLE", "NOTIFICATION_TOPIC_ARN", "BULK_QUEUE_URL", "POWERTOOLS_SERVICE_NAME"),  # a stack's own
        "REPOSITORY_PATTERN",  # has no default
        *("MAX_IMAGES_PER_REQUEST", "MAX_PERCENT_OF_REPOSITORY"),
    }
    assert function_under_test.GUARDED.keys() < variables.keys()


def test_readings_are_measured_as_they_are_deployed() -> None:
    """Memory, time-out and variables are those of the template, but for the sources: by default, there are none."""
    memory, timeout, variables = deployed("UsageFunction")
    measured = function_under_test.usage_environment("", "", clusters=1, table="usage")

    assert (memory, timeout) == (function_under_test.USAGE_MEMORY_MB, function_under_test.USAGE_TIMEOUT_SECONDS)
    assert {name for name, value in variables.items() if measured.get(name) != value} == {
        *("PROTECT_IN_USE", "USAGE_TABLE", "POWERTOOLS_SERVICE_NAME")
    }


def test_each_image_is_deleted_once_and_calls_are_counted(client: Clients) -> None:
    """The fake ECR takes 100 ids a call, answers with digest and tag, and knows what it has deleted."""
    with Server() as server:
        ecr = client("ecr", server)
        ids = [{"imageTag": f"{n}"} for n in range(100)]
        first = ecr.batch_delete_image(repositoryName="team/app", imageIds=ids)
        second = ecr.batch_delete_image(repositoryName="team/app", imageIds=ids[:1])
        with pytest.raises(ecr.exceptions.InvalidParameterException):
            ecr.batch_delete_image(repositoryName="team/app", imageIds=[*ids, {"imageTag": "100"}])

        assert [entry["imageTag"] for entry in first["imageIds"]] == [entry["imageTag"] for entry in ids]
        assert len({entry["imageDigest"] for entry in first["imageIds"]}) == 100
        assert second["failures"][0]["failureCode"] == "ImageNotFound"
        assert server.calls == {"BatchDeleteImage": 3}


def test_a_repository_is_listed_by_what_is_asked_for(client: Clients) -> None:
    """In pages, by tag and by status; what is deleted is not there any more, and an index keeps what it names."""
    with Server() as server:
        ecr = client("ecr", server)

        def listed(repository: str, size: int = 1_000, **wanted: str) -> list[Any]:
            pages = ecr.get_paginator("describe_images").paginate(
                repositoryName=repository, filter=wanted, PaginationConfig={"PageSize": size}
            )
            return [detail for page in pages for detail in page["imageDetails"]]

        repository = "indexes/5/a"
        images = {status: listed(repository, 2, tagStatus=status) for status in ("ANY", "TAGGED", "UNTAGGED")}
        digests = {status: [each["imageDigest"] for each in found] for status, found in images.items()}
        read = ecr.batch_get_image(
            repositoryName=repository, imageIds=[{"imageDigest": digest} for digest in digests["TAGGED"]]
        )["images"]
        named = [each["digest"] for image in read for each in json.loads(image["imageManifest"])["manifests"]]
        index, children = {"imageTag": "build-0"}, [{"imageDigest": digest} for digest in named[:2]]
        refused = ecr.batch_delete_image(repositoryName=repository, imageIds=children)["failures"]
        ecr.batch_delete_image(repositoryName=repository, imageIds=[index])
        deleted = ecr.batch_delete_image(repositoryName=repository, imageIds=children)["imageIds"]

        assert [len(images[status]) for status in ("ANY", "TAGGED", "UNTAGGED")] == [15, 5, 10]
        assert {each["imageManifestMediaType"].split(".")[3] for each in images["TAGGED"]} == {"index"}
        assert sorted(named) == sorted(digests["UNTAGGED"])
        assert {failure["failureCode"] for failure in refused} == {"ImageReferencedByManifestList"}
        assert deleted == children
        assert len(listed(repository, 2)) == 12
        assert not listed(repository, imageStatus="ARCHIVED")
        assert [each["imageTags"] for each in listed("listing/3/a")] == [["build-0"], ["build-1"], ["build-2"]]
        assert not listed("listing/3/a", tagStatus="UNTAGGED")


def test_calls_beyond_the_rate_are_throttled(client: Clients) -> None:
    """A burst passes, the next call is refused and had no effect; when the rate is lifted, all pass."""
    with Server(rate=0.001, burst=2) as server:
        ecr = client("ecr", server)
        for tag in "ab":
            ecr.batch_delete_image(repositoryName="team/app", imageIds=[{"imageTag": tag}])
        with pytest.raises(ClientError, match="ThrottlingException"):
            ecr.batch_delete_image(repositoryName="team/app", imageIds=[{"imageTag": "c"}])
        server.rate = 0
        again = ecr.batch_delete_image(repositoryName="team/app", imageIds=[{"imageTag": "c"}])

        assert again["failures"] == []
        assert server.calls == {"BatchDeleteImage": 3, THROTTLED: 1}


def test_a_bucket_fills_at_its_rate() -> None:
    """After a burst, calls pass as fast as tokens come, and no more than a burst is ever saved."""
    now = 0.0
    bucket = TokenBucket(clock=lambda: now)
    assert [bucket.take(10, 2) for _ in range(3)] == [True, True, False]
    now = 0.1
    assert [bucket.take(10, 2) for _ in range(2)] == [True, False]
    now = 60.0
    assert [bucket.take(10, 2) for _ in range(3)] == [True, True, False]


def test_the_table_keeps_conditions(client: Clients) -> None:
    """The fake DynamoDB writes only where the condition holds, shows what is there, and charges for each write."""
    with Server() as server:
        dynamodb = client("dynamodb", server)
        key = {"id": {"S": "a"}, "step": {"S": "claim"}}
        begin: Any = {
            "TableName": "steps",
            "Key": key,
            "UpdateExpression": "SET #state = :begun, #until = :now, #first = if_not_exists(#first, :now) REMOVE #data",
            "ConditionExpression": "attribute_not_exists(#id) OR (#state <> :begun AND #until < :now)",
            "ExpressionAttributeNames": {n: n[1:] for n in ("#id", "#state", "#until", "#first", "#data")},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        finish: Any = {
            "TableName": "steps",
            "Key": key,
            "UpdateExpression": "SET #state = :done, #data = :data",
            "ExpressionAttributeNames": {"#state": "state", "#data": "data"},
            "ExpressionAttributeValues": {":done": {"S": "done"}, ":data": {"S": "{}"}},
        }
        at = [{":begun": {"S": "begun"}, ":now": {"N": str(now)}} for now in (1, 2)]
        begun = {**key, "state": {"S": "begun"}, "until": {"N": "1"}, "first": {"N": "1"}}

        dynamodb.update_item(**begin, ExpressionAttributeValues=at[0])
        with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
            dynamodb.update_item(**begin, ExpressionAttributeValues=at[1])
        dynamodb.update_item(**finish)
        done = dynamodb.get_item(TableName="steps", Key=key)["Item"]
        dynamodb.update_item(**begin, ExpressionAttributeValues=at[1])
        again = dynamodb.query(
            TableName="steps",
            KeyConditionExpression="#id = :id",
            ExpressionAttributeNames={"#id": "id"},
            ExpressionAttributeValues={":id": {"S": "a"}},
        )["Items"]

        assert refused.value.response["Item"] == begun
        assert done == begun | {"state": {"S": "done"}, "data": {"S": "{}"}}
        assert again == [begun | {"until": {"N": "2"}}]
        assert server.calls[WRITE_UNITS] == 3


def test_what_is_in_use_comes_in_pages(client: Clients) -> None:
    """A repository whose name says so has as many uses as it says, in the pages of a MB that DynamoDB makes."""
    with Server() as server:
        pages = list(
            client("dynamodb", server)
            .get_paginator("query")
            .paginate(
                TableName="usage",
                KeyConditionExpression="#id = :id",
                ExpressionAttributeNames={"#id": "id"},
                ExpressionAttributeValues={":id": {"S": '["repository", "listing/100000/in-use/10000/a"]'}},
            )
        )
        items = [item for page in pages for item in page["Items"]]

        assert len({item["item"]["S"] for item in items}) == 10_000
        assert len([item for item in items if "digest" in item]) == 5_000
        assert server.calls["Query"] == len(pages) == 3
        assert 3 * 256 > server.calls[READ_UNITS] > 2 * 256


def test_tables_are_apart(client: Clients) -> None:
    """What is written to one, by whatever sort key, is in no other."""
    with Server() as server:
        dynamodb = client("dynamodb", server)
        key = {"id": {"S": "a"}, "item": {"S": "b"}}
        dynamodb.update_item(
            TableName="usage",
            Key=key,
            UpdateExpression="SET #user = :user",
            ExpressionAttributeNames={"#user": "user"},
            ExpressionAttributeValues={":user": {"S": "web"}},
        )
        assert dynamodb.get_item(TableName="usage", Key=key)["Item"] == key | {"user": {"S": "web"}}
        assert "Item" not in dynamodb.get_item(TableName="steps", Key=key)


def test_an_account_uses_the_images_that_it_says() -> None:
    """The plain loop, which the readings are compared with, finds as many in what runs and in its definitions."""
    with Server() as server:
        url = f"{server.url}/2"
        images = measured_reading.images_of(
            boto3.client("ecs", endpoint_url=url), boto3.client("lambda", endpoint_url=url)
        )
        repositories = {re.split("[:@]", image)[0] for image in images}

        assert len(images) == 2 * fake_workloads.IMAGES
        assert len(repositories) == 2 * fake_workloads.REPOSITORIES
        assert server.calls["DescribeTaskDefinition"] == 2 * fake_workloads.FAMILIES * fake_workloads.VERSIONS
        assert server.calls["ListFunctions"] == 2 * fake_workloads.FUNCTIONS * fake_workloads.VERSIONS / 50


def test_goals_are_held_against_the_median() -> None:
    """A row is met at its goal and on the right side of it."""
    assert Row("", "", 8, "x", (7, 8, 20), faster=True).met
    assert not Row("", "", 8, "x", (7, 7.9, 20), faster=True).met
    assert Row("", "", 1.3, "x", (1.0, 1.3, 9)).met
    assert not Row("", "", 1.3, "x", (1.0, 1.31, 1.4)).met
    assert QUICK.large_images > 100


def test_rows_without_a_goal_are_shown_for_information() -> None:
    """They are neither met nor missed, and the documents say what they show."""
    page = results.goals_table([Row("work", "", None, "x", (3.5,), faster=True), Row("work", "", 4, "x", (3.5,))])
    assert page.splitlines()[2] == "| work |  | none: the more, the better | 3.50 x |  |  |  |"
    assert page.splitlines()[3] == "| work |  | at most 4 x | 3.5 x | met |  |  |"


def test_a_selection_takes_as_long_as_its_calls_in_series() -> None:
    """The longer list page by page, whatever is read meanwhile, and then the deletions side by side."""
    tagged = Calls.of(tagged=100_000, untagged=0, indexes=0, selected=99_990)
    assert tagged == (100, 0, 2_000)
    assert tagged.seconds(Takes(page=0.11, deletion=0.1)) == pytest.approx(11 + 2_000 / 13 * 0.1)
    indexes = Calls.of(tagged=33_000, untagged=66_000, indexes=33_000, selected=98_970)
    assert indexes == (66, 33 + 330, 1_980)
    assert indexes.seconds(Takes(page=0.1, deletion=0.1)) == pytest.approx(6.6 + 1_980 / 13 * 0.1)
    many = Calls.of(tagged=1_000, untagged=0, indexes=13_000, selected=0)
    assert many.seconds(Takes(page=13, deletion=0)) == 1 + 130


def test_what_a_call_takes_is_measured() -> None:
    """It is at least what the server was told, for a deletion as for a page of a list."""
    with Server(latency=0.02) as ecr:
        takes = Takes.measured(testbed.Testbed(ecr=ecr), 100_000)
        assert ecr.calls == {"BatchDeleteImage": 9, "DescribeImages": 9}
    assert min(takes) >= 0.02


def test_the_same_figures_give_the_same_picture() -> None:
    """A tenfold size is drawn one decade further, wherever the figures come from."""
    panel = Panel("calls", "images", [Line("ours", [(1, 1), (10, 1), (100, 10)], [True, True, False])])
    assert draw([panel]) == draw([panel])
    circles = ET.fromstring(draw([panel])).findall(".//{*}circle[@r='3.5']")  # noqa: S314  # our own
    xs = [float(circle.attrib["cx"]) for circle in circles]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert circles[2].attrib["fill"] == "#fff"
