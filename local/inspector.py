"""moto's Amazon Inspector, with ListCoverage, which moto 5.2 does not serve: which images it has seen in use.

Here it covers all images of the account's registry, as enhanced scanning does, and sees in use what `Inspector.report`
says. Only AWS knows how long it takes to notice that a container started or ended, and for how long it shows an image
that was deleted.
"""

import json
import math
from typing import Any

import moto.inspector2.urls
from moto.core.exceptions import JsonRESTError
from moto.ecr.models import ecr_backends
from moto.inspector2.models import Inspector2Backend, inspector2_backends
from moto.inspector2.responses import Inspector2Response

type Json = dict[str, Any]

_PAGE = 200
_CONDITIONS = 10
"""Conditions of one kind in a filter."""


class Inspector(Inspector2Backend):
    """What one account, or the administrator of an organisation, sees in one region."""

    _url_module = moto.inspector2.urls

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.covered: dict[str, Json] = {}

    def report(self, repository_arn: str, digest: str, image: Json) -> None:
        """Covers an image from now on; `image` is its `resourceMetadata.ecrImage`."""
        self.covered[f"{repository_arn}/{digest}"] = _resource(repository_arn, digest, image)

    def coverage(self) -> list[Json]:
        """Returns all images: those that were reported, and the others of the registry."""
        registry = ecr_backends[self.account_id][self.region_name].repositories.values()
        others = {
            f"{repository.arn}/{image.image_digest}": _resource(
                repository.arn, image.image_digest, {"tags": list(image.image_tags), "inUseCount": 0, "lastInUseAt": 0}
            )
            for repository in registry
            for image in repository.images
        }
        return list((others | self.covered).values())


def _resource(repository_arn: str, digest: str, image: Json) -> Json:
    return {
        "resourceType": "AWS_ECR_CONTAINER_IMAGE",
        "resourceId": f"{repository_arn}/{digest}",
        "accountId": repository_arn.split(":")[4],
        "scanType": "PACKAGE",
        "scanStatus": {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"},
        "resourceMetadata": {"ecrImage": image},
    }


def _meets(resource: Json, criteria: dict[str, list[Json]]) -> bool:
    """Returns whether one condition of each kind holds."""
    image = resource["resourceMetadata"]["ecrImage"]
    values = {
        "resourceType": [resource["resourceType"]],
        "resourceId": [resource["resourceId"]],
        "accountId": [resource["accountId"]],
        "scanType": [resource["scanType"]],
        "ecrRepositoryName": [resource["resourceId"].partition("/")[2].rpartition("/")[0]],
        "ecrImageTags": image["tags"],
        "ecrImageInUseCount": [image["inUseCount"]],
        "ecrImageLastInUseAt": [image["lastInUseAt"]],
    }  # a filter that is not here fails the call, rather than letting everything through
    return all(any(_holds(condition, values[kind]) for condition in criteria[kind]) for kind in criteria)


def _holds(condition: Json, values: list[Any]) -> bool:
    if "comparison" in condition:
        return bool((condition["value"] in values) == (condition["comparison"] == "EQUALS"))
    lower = condition.get("lowerInclusive") or condition.get("startInclusive") or 0
    upper = condition.get("upperInclusive") or condition.get("endInclusive") or math.inf
    return any(lower <= value <= upper for value in values)


def _list_coverage(response: Inspector2Response) -> str:
    size = response._get_param("maxResults") or _PAGE  # noqa: SLF001  # how every response of moto's reads
    criteria = response._get_param("filterCriteria") or {}  # noqa: SLF001
    if not 1 <= size <= _PAGE or any(len(conditions) > _CONDITIONS for conditions in criteria.values()):
        raise JsonRESTError("ValidationException", f"at most {_PAGE} results and {_CONDITIONS} conditions of a kind")
    found = [image for image in response.inspector2_backend.coverage() if _meets(image, criteria)]
    start = int(response._get_param("nextToken") or 0)  # noqa: SLF001
    stop = start + size
    page = {"coveredResources": found[start:stop]}
    return json.dumps(page | ({"nextToken": str(stop)} if stop < len(found) else {}))


def install() -> None:
    """From now on moto answers for Inspector with this backend; what it had before is forgotten."""
    moto.inspector2.urls.url_paths["{0}/coverage/list$"] = Inspector2Response.dispatch
    Inspector2Response.list_coverage = _list_coverage
    inspector2_backends.reset()
    inspector2_backends.clear()
    inspector2_backends.backend = Inspector
