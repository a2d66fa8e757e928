"""Lambda is read whole: the image of each version of each function that is made of one."""

import pytest
from botocore.exceptions import ClientError

from handler.models.errors import ServiceUnavailableError
from handler.usage import lambda_
from handler.usage.reading import Unit
from tests.fakes.aws import response
from tests.fakes.usage import REGISTRY, FakeUsage, client, digest

API = f"{REGISTRY}/team/api"


def publish(running: FakeUsage, name: str, version: str, number: int, **code: str) -> None:
    """Makes a version of a function of the image with this number."""
    code = code or {"ImageUri": f"{API}:v{number}", "ResolvedImageUri": f"{API}@{digest(number)}"}
    running.functions.append({"FunctionName": name, "Version": version, "PackageType": "Image", "Code": code})


def units(running: FakeUsage) -> list[Unit]:
    """The units that there are now."""
    return lambda_.units(client("lambda", running))


def uses(running: FakeUsage) -> set[tuple[str, str]]:
    """Who uses which image, by what it is pulled by."""
    return {
        (use.user, use.image.image_id.tag or str(use.image.image_id.digest))
        for unit in units(running)
        for use in unit.read()
    }


def test_each_version_keeps_its_image(running: FakeUsage) -> None:
    """By its digest, over all pages; each function is a unit."""
    for n in range(1, 4):
        publish(running, "api", str(n), n)
    publish(running, "api", "$LATEST", 3)
    publish(running, "other", "$LATEST", 9)
    assert uses(running) == {
        *((f"Lambda function api:{n}", digest(n)) for n in range(1, 4)),
        ("Lambda function api:$LATEST", digest(3)),
        ("Lambda function other:$LATEST", digest(9)),
    }
    assert [unit.name for unit in units(running)] == ["api", "other"]


def test_functions_made_of_archives_are_not_asked_about(running: FakeUsage) -> None:
    """Lambda would hand out a link to their code."""
    running.functions.append({"FunctionName": "zip", "Version": "1", "PackageType": "Zip", "Code": {"Location": "x"}})
    running.functions.append({"FunctionName": "old", "Version": "1", "Code": {"Location": "x"}})
    assert units(running) == []
    assert running.calls["GetFunction"] == 0


def test_the_tag_counts_where_lambda_gives_no_digest(running: FakeUsage) -> None:
    """It is all that is known then."""
    publish(running, "api", "1", 1, ImageUri=f"{API}:v1")
    assert uses(running) == {("Lambda function api:1", "v1")}


def test_a_version_that_was_deleted_meanwhile_uses_nothing(running: FakeUsage) -> None:
    """The others of its function count."""
    publish(running, "api", "1", 1)
    publish(running, "api", "2", 2)
    del running.functions[0]["Code"]
    assert uses(running) == {("Lambda function api:2", digest(2))}


@pytest.mark.parametrize("operation", ["ListFunctions", "GetFunction"])
def test_an_answer_that_was_cut_short_fails_the_reading(running: FakeUsage, operation: str) -> None:
    """The SDK reads nothing from it: without a look, it would be a list that has nothing."""
    publish(running, "api", "1", 1)
    running.edits[operation] = lambda _: response(200, '{"Functions": [{"Function')
    with pytest.raises(ServiceUnavailableError, match="did not arrive whole"):
        uses(running)


def test_a_version_that_names_no_image_fails_the_reading(running: FakeUsage) -> None:
    """It has one all the same."""
    publish(running, "api", "1", 1, RepositoryType="ECR")
    with pytest.raises(ServiceUnavailableError):
        uses(running)


def test_a_refusal_fails_the_reading(running: FakeUsage) -> None:
    """Nobody knows what is in use then."""
    publish(running, "api", "1", 1)
    running.edits["GetFunction"] = lambda _: response(403, '{"__type": "AccessDeniedException", "Message": "no"}')
    with pytest.raises(ClientError, match="AccessDenied"):
        uses(running)
