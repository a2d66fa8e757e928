"""What the functional tests share: the embedded AWS, wiped before each test, and the function before it."""

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from local.aws import EmbeddedAWS
from local.ecr import CorrectedECR
from local.poller import Handler, Poller, load_function


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedAWS]:
    """One embedded AWS for all tests."""
    with EmbeddedAWS() as aws:
        yield aws


@pytest.fixture
def aws(embedded: EmbeddedAWS) -> EmbeddedAWS:
    """The embedded AWS with the template newly deployed, and nothing else in it."""
    embedded.reset()
    return embedded


@pytest.fixture
def function(aws: EmbeddedAWS) -> Iterator[Handler]:
    """A new copy of the function, with the environment that the template gives it."""
    with mock.patch.dict(os.environ):
        yield load_function(aws.environment)


@pytest.fixture
def poller(aws: EmbeddedAWS, function: Handler) -> Poller:
    """Takes requests from the queue to the function."""
    return Poller(aws, function)


@pytest.fixture
def ecr_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The BatchDeleteImage calls that reached ECR, in order of arrival: their `repositoryName` and `imageIds`."""
    calls: list[dict[str, Any]] = []
    batch_delete_image = CorrectedECR.batch_delete_image

    def record(
        self: CorrectedECR, repository_name: str, registry_id: str | None = None, image_ids: Any = None
    ) -> dict[str, Any]:
        calls.append({"repositoryName": repository_name, "imageIds": image_ids})
        return batch_delete_image(self, repository_name, registry_id, image_ids)

    monkeypatch.setattr(CorrectedECR, "batch_delete_image", record)
    return calls
