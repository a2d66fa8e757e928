"""Storage classes of the embedded ECR's images: the archive, and how long it takes to come back from it.

An image of moto's has what was last said of it as `image_status`, and as `last_archived_at` and `last_activated_at`, in
seconds since the epoch. One that is being restored is `ACTIVATING`, and `last_activated_at` is when it will have been:
it becomes active by itself, and sooner where a test makes these times older.
"""

import time
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ecr.models import Image

type Json = dict[str, Any]

STORAGE_CLASSES = ("STANDARD", "ARCHIVE")


class ImageStorageClassUpdateNotSupportedException(ServiceException):
    """An image that cannot change to this storage class as it is now."""

    code = "ImageStorageClassUpdateNotSupportedException"


class StorageChoices:
    """Behaviour of ECR that nobody outside AWS knows, as it is chosen here.

    A test may choose otherwise, on the class or on one registry, to try the product against each possibility.
    """

    archived_image_failure: str | None = "ImageInaccessible"
    """The failure code of BatchGetImage for an image that is not active; None if it answers with the manifest. Known is
    that such an image cannot be pulled, which is a 404 to those who pull."""
    children_can_be_archived: bool = False
    """Whether a manifest can be archived while an index names it that is not archived."""
    activation_seconds: float = 20 * 60
    """How long an image is ACTIVATING. Known is that it takes up to 20 minutes."""


def status(image: Image) -> str:
    """Returns ACTIVE, ARCHIVED or ACTIVATING, as it is now."""
    stored = str(getattr(image, "image_status", "ACTIVE"))
    return "ACTIVE" if stored == "ACTIVATING" and image.last_activated_at <= time.time() else stored


def details(image: Image) -> Json:
    """Returns what DescribeImages says of an image's storage class.

    While an image is being restored it has no `lastActivatedAt`. This is a choice: whether ECR shows that of an earlier
    restoration is not known.
    """
    activated = getattr(image, "last_activated_at", None)
    return {
        "imageStatus": status(image),
        "lastArchivedAt": getattr(image, "last_archived_at", None),
        "lastActivatedAt": activated if activated is not None and activated <= time.time() else None,
    }


def archive(image: Image, *, at: float) -> None:
    """Archives an image, at a time in seconds since the epoch."""
    image.image_status, image.last_archived_at = "ARCHIVED", int(at)


def restore(image: Image, *, at: float) -> None:
    """Restores an image from the archive, which is done at a time in seconds since the epoch."""
    image.image_status, image.last_activated_at = "ACTIVATING", int(at)


def update(image: Image, target: str, *, needed: bool, seconds: float) -> None:
    """Changes the storage class of an image, whose restoration takes so many seconds.

    `needed` is whether it must stay active because of an index. Raises ImageStorageClassUpdateNotSupportedException.
    """
    # A choice: who asks for the storage class that the image has, or is getting, is answered as if it had been changed,
    # and nothing is. ECR may as well refuse it.
    match target, status(image):
        case "ARCHIVE", "ACTIVATING":
            # A choice: it can be archived again once it is active.
            raise ImageStorageClassUpdateNotSupportedException("The image is being restored")
        case "ARCHIVE", "ACTIVE" if needed:
            raise ImageStorageClassUpdateNotSupportedException("The image is referenced by a manifest list")
        case "ARCHIVE", "ACTIVE":
            archive(image, at=time.time())
        case "STANDARD", "ARCHIVED":
            restore(image, at=time.time() + seconds)
