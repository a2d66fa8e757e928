"""Addresses of images are read as whoever pulls them reads them."""

import pytest

from handler.models.images import ImageId
from handler.usage.images import UsedImage, digest_of, is_of_ecr, parse_address

DIGEST = f"sha256:{'ab' * 32}"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def image(name: str, *, digest: str | None = None, tag: str | None = None, region: str = "eu-west-1") -> UsedImage:
    """An image of the registry."""
    return UsedImage("123456789012", region, name, ImageId(digest, tag))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"{REGISTRY}/app:v1", image("app", tag="v1")),
        (f"{REGISTRY}/team/sub/app:v1.2_3-x", image("team/sub/app", tag="v1.2_3-x")),
        (f"{REGISTRY}/app", image("app", tag="latest")),
        (f"{REGISTRY}/app@{DIGEST}", image("app", digest=DIGEST)),
        (f"{REGISTRY}/app:v1@{DIGEST}", image("app", digest=DIGEST)),
        (f"https://{REGISTRY}/app:v1", image("app", tag="v1")),
        (f"docker-pullable://{REGISTRY}/app@{DIGEST}", image("app", digest=DIGEST)),
        (f"{REGISTRY}:443/app@{DIGEST}", image("app", digest=DIGEST)),
        (f"{REGISTRY.upper()}/app:V1", image("app", tag="V1")),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1", image("app", tag="1", region="cn-north-1")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/app:1", image("app", tag="1", region="us-gov-west-1")),
        ("123456789012.dkr-ecr.eu-west-1.on.aws/app:1", image("app", tag="1")),
        ("123456789012.dkr-ecr-fips.us-east-1.on.aws/app:1", image("app", tag="1", region="us-east-1")),
    ],
)
def test_an_address_names_one_image(address: str, expected: UsedImage) -> None:
    """By its digest if it has one; without digest and tag, by the tag latest; under each name of a registry."""
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "", "nginx", "nginx:1.29", "public.ecr.aws/nginx/nginx:1", "ghcr.io/owner/app@" + DIGEST, f"{REGISTRY}",
        f"{REGISTRY}/", f"{REGISTRY}/app@sha256:short", f"{REGISTRY}/app:", f"{REGISTRY}/App:v1",
    ],
)  # fmt: skip
def test_an_address_elsewhere_names_none(address: str) -> None:
    """Nothing here could delete it."""
    assert parse_address(address) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"{REGISTRY}/app@sha256:short", True), (f"docker://{REGISTRY}", True), (f"{REGISTRY.upper()}/App:v1", True),
        ("nginx:1.29", False), ("ghcr.io/owner/app.dkr.ecr:1", False), ("", False),
    ],
)  # fmt: skip
def test_an_address_of_ecr_is_known_as_such_though_it_names_no_image(address: str, expected: bool) -> None:  # noqa: FBT001
    """So that whoever meant an image is told."""
    assert is_of_ecr(address) == expected


def test_an_image_by_its_digest_is_in_the_same_repository() -> None:
    """Whatever it was called by."""
    assert digest_of(image("team/app", tag="v1"), DIGEST) == image("team/app", digest=DIGEST)
