"""Inspector is read whole: every image that it has seen in use, in whichever repository."""

import json
from typing import Any

import pytest

from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageId
from handler.usage import inspector
from handler.usage.images import Use, UsedImage
from handler.usage.reading import ReadingFailedError
from tests.fakes.aws import response
from tests.fakes.usage import ACCOUNT, REGION, FakeUsage, client, digest

USER = "an ECS task or EKS pod that Amazon Inspector knows of"


def covered(name: str, number: int) -> dict[str, str]:
    """An image as Inspector lists it."""
    return {"resourceId": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}/{digest(number)}"}


def uses(running: FakeUsage) -> list[Use]:
    """The uses in the one unit there is."""
    [unit] = inspector.units(client("inspector2", running))
    return list(unit.read())


def test_every_image_in_use_is_listed(running: FakeUsage) -> None:
    """Over all pages; the names of repositories have slashes too. The fake checks what is asked for."""
    running.coverage = [covered("app", 1), covered("team/app", 2), covered("a/b/c", 3)]
    names = ("app", "team/app", "a/b/c")
    assert uses(running) == [
        Use(UsedImage(ACCOUNT, REGION, name, ImageId(digest(n))), USER) for n, name in enumerate(names, 1)
    ]


def test_a_list_without_any_image_says_nothing(running: FakeUsage) -> None:
    """Enhanced scanning is off, or another account administers it: then nothing is known to be in use, or not."""
    running.covers_images = False
    with pytest.raises(ReadingFailedError, match="enhanced scanning"):
        uses(running)


@pytest.mark.parametrize("which", ["whether it covers any image", "the last page"])
def test_an_answer_that_was_cut_short_fails_the_reading(running: FakeUsage, which: str) -> None:
    """The SDK reads nothing from it: without a look, it would be a list that has nothing."""
    running.coverage = [covered("app", n) for n in range(3)]

    def cut(answer: Any) -> Any:
        text = json.dumps(answer)
        last = "nextToken" not in text and "some image" not in text
        return response(200, '{"covered') if last == (which == "the last page") and "nextToken" not in text else None

    running.edits["ListCoverage"] = cut
    with pytest.raises(ServiceUnavailableError, match="did not arrive whole"):
        uses(running)


@pytest.mark.parametrize("name", ["repository/team/app", "repository/team/app@sha256:1", "image/team/app"])
def test_an_image_by_a_name_of_another_kind_fails_the_reading(running: FakeUsage, name: str) -> None:
    """It would be an image in use that nobody knows of."""
    running.coverage = [{"resourceId": f"arn:aws:ecr:{REGION}:{ACCOUNT}:{name}"}]
    with pytest.raises(ReadingFailedError, match="in which there is no digest"):
        uses(running)
