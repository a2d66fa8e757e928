"""Values that unit tests are made of: a request, an image, a report, with what does not matter filled in."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from handler.models.images import ImageFailure, ImageId, ListedImage
from handler.models.report import DeletionReport
from handler.models.request import DeletionRequest, Origin, Payload, Selection
from handler.models.selection_outcome import SelectionOutcome
from tests.fakes.lambda_ import QUEUE_ARN

ACCOUNT, FOREIGN = "123456789012", "210987654321"
DAY = 86_400
NOW = 20_000 * DAY + 0.5
"""When images are listed, in seconds since the epoch."""
ORIGIN = Origin("message", "message-1", QUEUE_ARN)
LOG = logging.LoggerAdapter(logging.getLogger("test"), {}, merge_extra=True)
"""The log of a request."""
REQUEST: dict[str, Any] = {"repositoryName": "team/app", "imageIds": ["imageTag=pr-417"]}
"""A request as it is sent."""


def payload(content: Any, **changes: Any) -> Payload:
    """Returns a request as it stands in a message, out of its envelope."""
    return Payload(content, ORIGIN, (ORIGIN.kind, ORIGIN.id))._replace(**changes)


def digest(number: int) -> str:
    """Returns the digest of the image with this number."""
    return f"sha256:{number:064x}"


def names_one(images: Mapping[str, Collection[str]], image_id: ImageId) -> bool:
    """Returns whether an id names one of these images and their tags; with both, whether the tag is that image's."""
    return any(
        image_id.digest in (None, digest) and (image_id.tag is None or image_id.tag in tags)
        for digest, tags in images.items()
    )


def deletion_request(*image_ids: ImageId, **changes: Any) -> DeletionRequest:
    """Returns a request for these images."""
    request = DeletionRequest(
        key=("request", "cleanup-1"),
        request_id="cleanup-1",
        repository_name="team/app",
        image_ids=image_ids,
        origin=ORIGIN,
        content_hash="hash",
    )
    return request._replace(**changes)


def failure(
    tag: str = "precise", code: str = "ImageNotFound", reason: str = "Requested image not found"
) -> ImageFailure:
    """Returns the failure of a tag."""
    return ImageFailure(ImageId(tag=tag), code, reason)


def deletion_report(*failures: ImageFailure, deleted: int = 0, **changes: Any) -> DeletionReport:
    """Returns the report of a request that met these failures, and deleted so many other images."""
    gone = tuple(ImageId(tag=f"gone-{n}") for n in range(deleted))
    request = deletion_request(*(failed.image_id for failed in failures), *gone, **changes)
    return DeletionReport(request, gone, failures)


def selection_report(outcome: SelectionOutcome, **changes: Any) -> DeletionReport:
    """Returns the report of a selection."""
    request = deletion_request(selection=Selection("any", keep_most_recent=1), **changes)
    chunk = outcome.chunk
    return DeletionReport(request, chunk.image_ids, chunk.failures, chunk.unconfirmed, chunk.omitted, selection=outcome)


def listed_image(name: str, *tags: str, days: float = 30, **changes: Any) -> ListedImage:
    """Returns an image of 100 bytes that was pushed so many days ago."""
    image = ListedImage(name, tags, NOW - days * DAY, None, 100, is_index=False, subject=None)
    return image._replace(**changes)


def by_digest(*numbers: int) -> tuple[ImageId, ...]:
    """Ids of images by their digests."""
    return tuple(ImageId(digest(number)) for number in numbers)


def by_tag(*tags: str) -> tuple[ImageId, ...]:
    """Ids of images by their tags."""
    return tuple(ImageId(tag=tag) for tag in tags)
