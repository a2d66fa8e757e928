"""How fast ECR may be called."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from acceptance.aws import code_of
from acceptance.questions.conftest import Ask
from acceptance.repositories import Repository
from acceptance.world import World

SECONDS = 10
MOST_CALLS = 2_000
"""For each operation; others of the account and region share the same limit while it lasts."""
THREADS = 24


@pytest.mark.opt_in("throttle", "THROTTLE=1")
def test_calls_a_second(world: World, repository: Repository, ask: Ask) -> None:
    """How many calls a second does ECR let through?

    It is asked for ten seconds for each operation, about an image that is not there; nothing is deleted.
    """
    ecr = world.clients.unretried("ecr")
    image_ids = [{"imageTag": "none"}]
    calls = {
        "BatchDeleteImage": lambda: ecr.batch_delete_image(repositoryName=repository.name, imageIds=image_ids),
        "BatchGetImage": lambda: ecr.batch_get_image(repositoryName=repository.name, imageIds=image_ids),
        "DescribeImages": lambda: ecr.describe_images(repositoryName=repository.name),
    }
    for operation, call in calls.items():
        seconds = SECONDS * min(1.0, world.options.patience)
        counted = _count(call, seconds)
        passed = counted.pop("", 0)
        ask.note(
            f"{operation}, {sum(counted.values()) + passed} times in {seconds:.0f} s from {THREADS} threads",
            f"{passed / seconds:.1f} a second passed; refused: {dict(counted) or 'none'}",
        )


def _count(call: Any, seconds: float) -> Counter[str]:
    """Makes a call over and over; returns how often it passed, under the empty name, and failed, under each code."""
    end = time.monotonic() + seconds

    def again(_: int) -> str | None:
        if time.monotonic() > end:
            return None
        try:
            call()
        except ClientError as error:
            return code_of(error)
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(code for code in pool.map(again, range(MOST_CALLS)) if code is not None)
