"""Fixtures of the tests of calls to ECR: a repository in another account's registry."""

import pytest

from handler.registry import Repository
from tests.fakes.clients import Clients
from tests.fakes.execution import UNHURRIED
from tests.fakes.scripted import ScriptedAWS

REPOSITORY, REGISTRY = "team/app", "210987654321"


@pytest.fixture
def repository(clients: Clients, aws: ScriptedAWS) -> Repository:
    """An empty repository, about which ECR is called without an eye on the time."""
    aws.ecr.repositories[REPOSITORY] = {}
    return Repository(clients.ecr_client, REPOSITORY, REGISTRY, UNHURRIED.calling, UNHURRIED.sleep)
