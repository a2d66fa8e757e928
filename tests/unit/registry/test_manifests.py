"""What the manifests of many images name, and what becomes of those that cannot be read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from handler.models.errors import RefusedLookUpError
from handler.models.images import ImageFailure, ImageId, NamedManifests
from handler.registry import Repository, read_manifests
from tests.fakes.scripted import ScriptedAWS, edited, refused

REPOSITORY = "team/app"


def test_an_index_names_manifests_and_an_image_none(repository: Repository, aws: ScriptedAWS) -> None:
    """By digest and by tag; what is not there is left out."""
    child = aws.ecr.push(REPOSITORY)
    inner = aws.ecr.push(REPOSITORY, children=(child,))
    outer = aws.ecr.push(REPOSITORY, "1.0", children=(inner, child))
    ids = [ImageId(child), ImageId(inner), ImageId(tag="1.0"), ImageId(tag="gone")]
    found = read_manifests(repository, ids)
    assert {i: (m.digest, m.named) for i, m in found.items() if isinstance(m, NamedManifests)} == {
        ids[0]: (child, ()),
        ids[1]: (inner, (child,)),
        ids[2]: (outer, (inner, child)),
    }


def test_each_hundred_is_a_call(repository: Repository, aws: ScriptedAWS) -> None:
    """However many there are; each image is asked for once."""
    digests = [aws.ecr.push(REPOSITORY) for _ in range(250)]
    assert len(read_manifests(repository, [*map(ImageId, digests)] * 2)) == 250
    assert sorted(len(call["imageIds"]) for call in aws.asked("BatchGetImage")) == [50, 100, 100]


def test_a_manifest_of_no_kind_that_is_known_is_a_failure(repository: Repository, aws: ScriptedAWS) -> None:
    """Nobody can say what it names."""
    digest = aws.ecr.push(REPOSITORY)

    def strange(answer: dict[str, Any]) -> dict[str, Any]:
        answer["images"][0]["imageManifest"] = json.dumps({"manifests": [{"size": 1}]})
        return answer

    aws.plays["BatchGetImage"] = [edited(strange)]
    [failure] = read_manifests(repository, [ImageId(digest)]).values()
    assert isinstance(failure, ImageFailure)
    assert failure.code == "UnreadableIndex"


def test_an_image_that_is_gone_upstream_costs_the_others_nothing(repository: Repository, aws: ScriptedAWS) -> None:
    """ECR refuses the whole call for it: the others are asked for without it."""
    digests = [aws.ecr.push(REPOSITORY, "gone-upstream"), *(aws.ecr.push(REPOSITORY) for _ in range(6))]

    def refuse(do: Callable[[], AWSResponse]) -> AWSResponse:
        asked = aws.asked("BatchGetImage")[-1]["imageIds"]
        if {"imageDigest": digests[0]} in asked:
            return refused("UnableToGetUpstreamImageException")(do)
        return do()

    aws.plays["BatchGetImage"] = [refuse] * 20
    found = read_manifests(repository, [*map(ImageId, digests)])
    assert {i.digest for i, manifest in found.items() if isinstance(manifest, NamedManifests)} == {*digests[1:]}
    failure = found[ImageId(digests[0])]
    assert isinstance(failure, ImageFailure)
    assert failure.code == "UnableToGetUpstreamImageException"


def test_a_refusal_for_good_is_raised(repository: Repository, aws: ScriptedAWS) -> None:
    """It would be met again."""
    aws.plays["BatchGetImage"] = [refused("AccessDeniedException")]
    with pytest.raises(RefusedLookUpError, match="AccessDeniedException"):
        read_manifests(repository, [ImageId(tag="v1")])
