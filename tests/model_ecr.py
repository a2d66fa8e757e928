"""What models of ECR share that unit tests hand to the code as its client: how DescribeImages answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

type Json = dict[str, Any]
type Images = dict[str, set[str]]
"""The tags of each image."""


class NotThere(ClientError):  # noqa: N818  # as ECR's client has it
    """DescribeImages fails whole when one image is missing."""

    def __init__(self) -> None:
        error: Any = {"Error": {"Code": "ImageNotFoundException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        super().__init__(error, "DescribeImages")


class Exceptions:
    """The errors that a client knows by name."""

    ImageNotFoundException = NotThere


@dataclass
class ModelEcr:
    """A repository that can be looked at."""

    images: Images
    exceptions = Exceptions

    def find(self, image_id: Mapping[str, Any]) -> str | None:
        """The digest of the image that an id names."""
        raise NotImplementedError

    def describe_images(self, **call: Any) -> Json:
        found = [self.find(image_id) for image_id in call["imageIds"]]
        if None in found:
            raise NotThere
        pushed = datetime(2026, 1, 1, tzinfo=UTC)
        details = [{"imageDigest": d, "imageTags": list(self.images[d]), "imagePushedAt": pushed} for d in found if d]
        return {"imageDetails": details}
