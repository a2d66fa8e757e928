"""What Amazon Inspector sees in use: in ECS tasks and EKS pods, also of other accounts of an organisation.

It knows only images that its enhanced scanning covers.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from handler.models.images import ImageId

from .images import Use, UsedImage
from .reading import ReadingFailedError, Unit, listed, member

_PAGE = 200
"""The most that Inspector lists at a time."""
_USER = "an ECS task or EKS pod that Amazon Inspector knows of"
_ARN = re.compile(
    r"arn:[a-z-]+:ecr:(?P<region>[a-z0-9-]+):(?P<registry_id>\d{12}):repository/(?P<name>.+)/(?P<digest>sha256:[0-9a-f]{64})"
)
"""An image as Inspector names it; the names of repositories have slashes too."""


def units(inspector: Any) -> list[Unit]:
    """Returns the one unit there is: the coverage, which has no smaller parts to ask for."""
    return [Unit("coverage", partial(_of_coverage, inspector))]


def _of_coverage(inspector: Any) -> Iterator[Use]:
    """Yields the images that something uses.

    Raises ReadingFailedError where Inspector covers no image at all, in use or not, for then it says nothing; and where
    one has a name that is none of ECR's.
    """
    images = {"resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}]}
    if not member(inspector.list_coverage(maxResults=1, filterCriteria=images), "coveredResources"):
        raise ReadingFailedError("Inspector covers no ECR image; see that enhanced scanning is on, in this account")
    criteria = images | {"ecrImageInUseCount": [{"lowerInclusive": 1}]}
    resources = listed(inspector, "list_coverage", "coveredResources", page=_PAGE, filterCriteria=criteria)
    for resource in resources:
        arn = resource["resourceId"]
        if not (match := _ARN.fullmatch(arn)):
            raise ReadingFailedError(f"Inspector names an image {str(arn)[:300]!r}, in which there is no digest")
        image = UsedImage(match["registry_id"], match["region"], match["name"], ImageId(match["digest"]))
        yield Use(image, _USER)
