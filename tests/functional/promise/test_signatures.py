"""A signature whose tag names the digest of an image belongs to that image, like one that has it as its subject."""

import pytest

from tests.harness.outside import ANY_SHARE, SIGNATURE_SUFFIXES, Outside, ask, select

OLDER_THAN_A_YEAR = {
    "tagStatus": "any",
    "excludeTagPatternList": ["release-*"],
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 365,
}


@pytest.mark.parametrize("suffix", SIGNATURE_SUFFIXES)
def test_signatures_are_not_counted_among_the_last_images(stack: Outside, suffix: str) -> None:
    """Of 8 signed images the last 6 stay, each with its signature."""
    kept: set[str] = set()
    for days in range(1, 9):
        image = stack.push(f"v{days}", days=days)
        signature = stack.sign(image, suffix=suffix, days=days)
        kept |= {image, signature} if days <= 6 else set()
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 6}

    answer = select(stack.start(**ANY_SHARE), selection)

    assert stack.left() == kept
    assert (answer["selected"], answer["deleted"], answer["failures"]) == (4, 4, [])


@pytest.mark.parametrize("suffix", SIGNATURE_SUFFIXES)
def test_the_signature_of_a_kept_image_stays(stack: Outside, suffix: str) -> None:
    """However old it is; that of an image that goes goes with it, however young."""
    release = stack.push("release-1", days=900)
    signature = stack.sign(release, suffix=suffix, days=900)
    old = stack.push("old", days=400)
    stack.sign(old, suffix=suffix, days=1)

    select(stack.start(**ANY_SHARE), OLDER_THAN_A_YEAR)

    assert stack.left() == {release, signature}


def test_signatures_match_no_pattern_of_their_own(stack: Outside) -> None:
    """A pattern for every tag leaves them out: the image that is kept as the most recent keeps its signature."""
    newest, older = (stack.push(tag, days=days) for tag, days in (("b", 1), ("a", 2)))
    kept = stack.sign(newest, days=9)
    stack.sign(older, days=9)
    selection = {"tagStatus": "tagged", "tagPatternList": ["*"], "keepMostRecent": 1}
    select(stack.start(**ANY_SHARE), selection)
    assert stack.left() == {newest, kept}


@pytest.mark.parametrize("suffix", SIGNATURE_SUFFIXES)
def test_a_cascade_takes_signatures_by_tag(stack: Outside, suffix: str) -> None:
    """Of the index, of what it names, and the signature of a signature; those of other images stay."""
    child = stack.push()
    index = stack.push_index([child], "1.0")
    of_index = stack.sign(index, suffix=suffix)
    stack.sign(child, suffix=suffix)
    stack.sign(of_index, suffix=suffix)
    other = stack.push("2.0")
    of_other = stack.sign(other, suffix=suffix)

    answer = ask(stack.start(), "imageTag=1.0", cascade=True)

    assert stack.left() == {other, of_other}
    assert answer["failures"] == []
    assert len(answer["imageIds"]) == 5


def test_the_signature_of_an_image_that_stays_is_kept(stack: Outside) -> None:
    """An image that loses one of two tags keeps what belongs to it."""
    image = stack.push("1.0", "stable")
    signature = stack.sign(image)
    answer = ask(stack.start(), "imageTag=1.0", cascade=True)
    assert stack.left() == {image, signature}
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {signature: "StillUsed"}


def test_a_signature_with_a_further_tag_is_an_image_of_its_own(stack: Outside) -> None:
    """A cascade keeps it, and a selection judges and counts it by itself."""
    image = stack.push("1.0")
    tagged = stack.sign(image, "audited")
    plain = stack.sign(image, suffix=".att")
    answer = ask(stack.start(), "imageTag=1.0", cascade=True)
    assert stack.left() == {tagged}
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {tagged: "StillTagged"}
    assert {image_id["imageDigest"] for image_id in answer["imageIds"]} == {image, plain}


def test_signatures_without_their_image_are_judged_as_any_image(stack: Outside) -> None:
    """So are those with a further tag, while those of an image that is there are not."""
    image = stack.push("release-1", days=900)
    signature = stack.sign(image, days=900)
    stack.sign(image, "audited", suffix=".att", days=900)
    stack.sign(f"sha256:{'0' * 64}", days=900)
    young = stack.sign(f"sha256:{'1' * 64}", days=1)
    answer = select(stack.start(**ANY_SHARE), OLDER_THAN_A_YEAR)
    assert stack.left() == {image, signature, young}
    assert answer["selected"] == 2
