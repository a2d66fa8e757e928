"""Images as those name them who run them: by the address that they are pulled from."""

import re
from typing import NamedTuple

from handler.models.images import ImageId

# The registry of an account in a region has several names: that for IPv4, those for IPv4 and IPv6, and FIPS endpoints.
_ADDRESS = re.compile(
    r"(?P<registry_id>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+(?::\d+)?"
    r"/(?P<name>[a-z0-9][a-z0-9._/-]{0,255}?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,299}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LATEST = "latest"
"""The tag that is pulled where an address names neither tag nor digest."""


class UsedImage(NamedTuple):
    """An image of an ECR registry."""

    registry_id: str
    region: str
    repository_name: str
    image_id: ImageId


class Use(NamedTuple):
    """One use of an image."""

    image: UsedImage
    user: str
    """Who uses it, for people to read: "ECS service web in cluster prod"."""


def parse_address(address: str) -> UsedImage | None:
    """Returns the image that an address names; None if it is in no ECR registry.

    As whoever pulls it reads it: by digest if it has one, whatever tag stands before it.
    """
    host, slash, path = _without_scheme(address).partition("/")
    match = _ADDRESS.fullmatch(host.lower() + slash + path)
    if not match:
        return None
    digest = match["digest"]
    tag = None if digest else match["tag"] or _LATEST
    return UsedImage(match["registry_id"], match["region"], match["name"], ImageId(digest, tag))


def is_of_ecr(address: str) -> bool:
    """Returns whether an address names an ECR registry, whatever else it says."""
    return ".dkr" in _without_scheme(address).partition("/")[0].lower()


def _without_scheme(address: str) -> str:
    """Returns an address without what container runtimes write before it, such as docker-pullable://."""
    return address.rpartition("://")[2]


def digest_of(image: UsedImage, digest: str) -> UsedImage:
    """Returns the image of the same repository that has this digest."""
    return image._replace(image_id=ImageId(digest))
