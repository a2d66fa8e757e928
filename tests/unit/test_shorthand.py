"""The CLI's shorthand strings for image ids: what they mean here is what they mean to the AWS CLI, or nothing."""

from collections.abc import Mapping
from copy import replace

import pytest

from handler.events import parse_request
from handler.models import DeletionRequest, ImageId, Origin, RejectedRequestError

DIGEST = "sha256:" + "a" * 64


def parse(*image_ids: str | Mapping[str, object]) -> DeletionRequest:
    """A request for these ids."""
    payload = {"repositoryName": "ubuntu", "imageIds": list(image_ids)}
    return parse_request(payload, Origin("message", "m-1", "queue"), ("123456789012",), max_images=1_000, dry_run=False)


# What `aws ecr batch-delete-image --image-ids` of AWS CLI 1.46 makes of the same strings.
AS_THE_CLI = [
    ("imageTag=precise", ImageId(tag="precise")),
    (f"imageDigest={DIGEST}", ImageId(DIGEST)),
    (f"imageDigest={DIGEST},imageTag=precise", ImageId(DIGEST, "precise")),
    (f"imageTag=precise,imageDigest={DIGEST}", ImageId(DIGEST, "precise")),
    (f"imageTag=precise, imageDigest={DIGEST}", ImageId(DIGEST, "precise")),
    (f"imageTag=precise ,\n imageDigest={DIGEST} ", ImageId(DIGEST, "precise")),
    ("imageTag= precise", ImageId(tag="precise")),
    ("imageTag=precise\n", ImageId(tag="precise")),
    ("imageTag=\u00a0precise", ImageId(tag="\u00a0precise")),
    ("imageTag=two words", ImageId(tag="two words")),
    ("imageTag=", ImageId(tag="")),
    ("imageTag=,imageDigest=", ImageId("", "")),
    ('imageTag=""', ImageId(tag="")),
    ('imageTag="precise"', ImageId(tag="precise")),
    ("imageTag='precise'", ImageId(tag="precise")),
    ('imageTag=" a "', ImageId(tag=" a ")),
    ('imageTag="a,b"', ImageId(tag="a,b")),
    ("imageTag='a,imageDigest=b'", ImageId(tag="a,imageDigest=b")),
    ("""imageTag="it's",imageDigest='"b"'""", ImageId('"b"', "it's")),
    ("imageTag=a=b", ImageId(tag="a=b")),
    ("imageTag=a;imageDigest=b", ImageId(tag="a;imageDigest=b")),
    ("imageTag=\\a", ImageId(tag="\\a")),
    ("imageTag=é", ImageId(tag="é")),
    ("imageTag=1", ImageId(tag="1")),
]

# Not even the CLI takes these.
NOT_SHORTHAND = [
    "",
    "precise",
    "imageTag",
    "imageTag:a",
    " imageTag=a",
    "imageTag=a,",
    "imageTag=a,imageTag=b",
    "imageTag=a,imageDigest=b,imageTag=c",
    'imageTag="a',
    "imageTag='a",
    'imageTag=a"b"',
    "imageTag=a'b",
    'imageTag="a"b',
]

# The CLI reads these as something that is no image id, as a list, or only after unescaping; none is needed to name one.
BEYOND_AN_IMAGE_ID = [
    "tag=a",
    "imagetag=a",
    "ImageTag=a",
    "imageTag =a",
    "imageTag@=file",
    "imageTag=a,b",
    "imageTag=[a,b]",
    "imageTag=a,imageDigest",
    "imageTag=a,,imageDigest=b",
    "imageTag=a\\,b",
    'imageTag="a\\"b"',
    "imageTag='a\\'b'",
]

# The CLI takes or refuses these in its own way; here each stays a tag that no image can have.
NO_TAG = [
    "imageTag=[a]",
    "imageTag={a=b}",
    "imageTag=[a",
    "imageTag=a]",
    "imageTag==a",
    "imageTag=a\0",
    'imageTag="\\\\"',
]


@pytest.mark.parametrize(("text", "image_id"), AS_THE_CLI)
def test_shorthand_means_what_it_means_to_the_cli(text: str, image_id: ImageId) -> None:
    """Either member first, quoted or not, with white space where the CLI allows it."""
    assert parse(text).image_ids == (image_id,)


@pytest.mark.parametrize(("text", "image_id"), AS_THE_CLI)
def test_shorthand_and_json_are_one_request(text: str, image_id: ImageId) -> None:
    """A request sent in one form and repeated in the other is a duplicate."""
    shorthand, plain = parse(text), parse(image_id.to_json())
    assert replace(shorthand, payload=plain.payload) == plain


@pytest.mark.parametrize("text", NOT_SHORTHAND + BEYOND_AN_IMAGE_ID)
def test_other_text_is_refused(text: str) -> None:
    """Nothing is guessed: the request is rejected, with the place of the text in it."""
    with pytest.raises(RejectedRequestError, match=r"^request\.imageIds\[1\] must match pattern \^\(imageTag="):
        parse("imageTag=fine", text)


@pytest.mark.parametrize("text", NO_TAG)
def test_lists_and_escapes_never_turn_into_an_image(text: str) -> None:
    """Where this service and the CLI read a text differently, neither reads it as an image that could exist."""
    failure = parse(text).image_ids[0].malformed()
    assert failure is not None
    assert failure.code == "InvalidImageTag"


@pytest.mark.parametrize("image_id", [ImageId(tag="v1"), ImageId(DIGEST), ImageId(DIGEST, "v1")])
def test_what_is_printed_can_be_sent(image_id: ImageId) -> None:
    """Logs name an image in shorthand, and that is a shorthand string a request takes."""
    assert parse(str(image_id)).image_ids == (image_id,)
