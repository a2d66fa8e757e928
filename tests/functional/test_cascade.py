"""Cascade: what belongs to an image goes with it, unless it has a tag of its own or is still used."""

import pytest

from tests.harness.outside import Outside, ask, by_digest, codes

GOES_ALONG = ("all", "index", "amd64", "arm64", "signature", "signature of arm64")


def push_family(stack: Outside) -> dict[str, str]:
    """Pushes a nested index with signatures; one of its platform images has a tag, another index names another one."""
    digests = {name: stack.push() for name in ("amd64", "arm64", "shared")}
    digests["tagged"] = stack.push("keep-me")
    digests["index"] = stack.push_index(list(digests.values()))
    digests["all"] = stack.push_index([digests["index"]], "1.0")
    digests["other"] = stack.push_index([digests["shared"]], "2.0")
    digests["signature"] = stack.push_referrer(digests["all"])
    digests["signature of arm64"] = stack.push_referrer(digests["arm64"])
    digests["signature of shared"] = stack.push_referrer(digests["shared"])
    return digests


def test_cascade_takes_the_whole_image(stack: Outside) -> None:
    """The nested index, its images and signatures go; what has a tag, or another index needs, is reported as kept."""
    digests = push_family(stack)
    gone = {digests[name] for name in GOES_ALONG}

    answer = ask(stack.start(), "imageTag=1.0", cascade=True)

    assert answer["failures"] == []
    assert {image_id["imageDigest"] for image_id in answer["imageIds"]} == gone
    assert stack.left() == set(digests.values()) - gone
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {
        digests["tagged"]: "StillTagged",
        digests["shared"]: "ImageReferencedByManifestList",
        digests["signature of shared"]: "StillUsed",
    }
    assert stack.notices() == []


def test_a_dry_run_of_a_cascade_foresees_the_same(stack: Outside) -> None:
    """As far as a look-up can tell: that another index needs an image is known to ECR alone."""
    digests = push_family(stack)
    answer = ask(stack.start(), "imageTag=1.0", cascade=True, dryRun=True)
    assert stack.left() == set(digests.values())
    assert {digests[name] for name in GOES_ALONG} <= {image_id["imageDigest"] for image_id in answer["imageIds"]}
    assert {kept["code"] for kept in answer["kept"]} == {"StillTagged"}


def test_an_index_that_stays_keeps_its_images(stack: Outside) -> None:
    """With another tag left, only the tag goes."""
    child = stack.push()
    index = stack.push_index([child], "1.0", "stable")
    signature = stack.push_referrer(index)
    answer = ask(stack.start(), "imageTag=1.0", cascade=True)
    assert {kept["code"] for kept in answer["kept"]} == {"StillUsed"}
    assert (stack.left(), stack.tags()) == ({child, index, signature}, {"stable"})


def test_an_image_named_beside_its_nested_index_goes_with_it(stack: Outside) -> None:
    """The index between them goes as a relative; then nothing holds what was named, and it goes too."""
    child = stack.push()
    stack.push_index([stack.push_index([child])], "1.0")
    answer = ask(stack.start(), "imageTag=1.0", *by_digest(child), cascade=True)
    assert (answer["failures"], stack.left()) == ([], set())


def test_without_cascade_the_report_counts_what_is_left_untagged(stack: Outside) -> None:
    """Where the request says that relatives are to stay; otherwise no look-up is made. The cap does not count them."""
    children = [stack.push(), stack.push(), stack.push("tagged")]
    stack.push_index(children, "1.0")
    function = stack.start(MAX_IMAGES_PER_REQUEST="1")
    answer = ask(function, "imageTag=1.0", cascade=False)
    assert (answer["leftUntagged"], answer["failures"]) == (2, [])
    assert stack.left() == set(children)
    assert "leftUntagged" not in ask(function, *by_digest(children[0]))


def test_what_another_index_still_names_is_counted_but_not_called_unused(stack: Outside) -> None:
    """The notice says that images are left without a tag, and not that nothing refers to them."""
    shared = stack.push()
    for tag in ("1.0", "2.0"):
        stack.push_index([shared, stack.push()], tag)
    ask(stack.start(), "imageTag=1.0", cascade=False, notify="always")
    [notice] = stack.notices()
    assert notice.data["leftUntagged"] == 2
    assert "2 images without a tag of their own, of those that belonged to the deleted" in notice.text


def test_a_cascade_beyond_the_cap_is_rejected_before_anything_is_deleted(stack: Outside) -> None:
    """Their relatives count too."""
    stack.push_index([stack.push(), stack.push()], "1.0")
    before = stack.left()
    with pytest.raises(Exception, match="with what belongs to them these are 3 images, and a request may delete 2"):
        ask(stack.start(MAX_IMAGES_PER_REQUEST="2"), "imageTag=1.0", cascade=True)
    assert stack.left() == before
    assert codes(ask(stack.start(MAX_IMAGES_PER_REQUEST="3"), "imageTag=1.0", cascade=True)) == []
    assert stack.left() == set()
