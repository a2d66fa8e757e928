"""How long a page can wait for the next one."""

from collections.abc import Callable
from functools import partial
from typing import Any

from acceptance.questions.conftest import Ask
from acceptance.repositories import Repository
from acceptance.world import World


def test_a_token_that_waits(world: World, repository: Repository, ask: Ask) -> None:
    """Does nextToken still work after minutes, and after a change of the repository?

    A selection of 100,000 images takes several pages, and is listed anew when it is delivered again.
    """
    for number in range(4):
        repository.push_image(f"page {number}", f"page-{number}")
    name, ecr = repository.name, repository.ecr
    pages = {"ListImages": partial(ecr.list_images, repositoryName=name, maxResults=2)}
    pages["DescribeImages"] = partial(ecr.describe_images, repositoryName=name, maxResults=2)
    tokens = {operation: page().get("nextToken", "") for operation, page in pages.items()}
    minutes = 15 if world.options.slow else 1
    world.pause(minutes * 60)
    repository.delete({"imageTag": "page-0"})
    for operation, page in pages.items():
        if tokens[operation]:
            with_token = partial(_counted, partial(page, nextToken=tokens[operation]))
            ask(f"{operation} with a nextToken of {minutes} minutes ago, after a deletion", with_token)
        else:
            ask.note(f"{operation} with maxResults=2 of four images", "all of them, and no nextToken")


def _counted(call: Callable[[], Any]) -> Any:
    """Makes a call; returns its answer with the number of images, instead of all that is said of them."""
    answer = {name: len(value) if isinstance(value, list) else value for name, value in call().items()}
    return answer | ({"nextToken": "…"} if "nextToken" in answer else {})
