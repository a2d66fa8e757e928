"""The relatives of an image: what an index names, what has the image as its subject, and signatures by their tag."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from handler.models.errors import OutOfTimeError, ServiceUnavailableError
from handler.models.families import Family, FoundFamilies
from handler.models.images import SIGNATURE_ENDINGS, ImageFailure, ImageId
from handler.models.limits import STORED_BYTES
from handler.registry import Repository
from handler.registry.families import find_families
from tests.fakes.scripted import URL, Play, ScriptedAWS, broken, cut_short, edited, refused, time_for
from tests.values import digest

REPOSITORY = "team/app"
GONE = "sha256:" + "0" * 64


@pytest.mark.parametrize("by_tag", [True, False])
def test_an_index_has_what_it_names(repository: Repository, aws: ScriptedAWS, by_tag: bool) -> None:  # noqa: FBT001
    """Its platform images and their attestations, which it names beside them; one level only."""
    children = [aws.ecr.push(REPOSITORY) for _ in range(2)]
    nested = aws.ecr.push(REPOSITORY, children=children)
    index = aws.ecr.push(REPOSITORY, "v1", children=[nested])
    image_id = ImageId(tag="v1") if by_tag else ImageId(index)
    assert families_of(repository, [image_id, ImageId(nested)]).families == (
        Family(index, None, (nested,)),
        Family(nested, None, tuple(children)),
    )


def families_of(repository: Repository, image_ids: Sequence[ImageId]) -> FoundFamilies:
    """Returns what belongs to images of which none was archived here."""
    return find_families(repository, image_ids, lambda _: {}, restoring=False)


def test_an_image_has_what_refers_to_it(repository: Repository, aws: ScriptedAWS) -> None:
    """Signatures and the like, page for page, archived ones too; they know their subject."""
    aws.ecr.page = 2
    image = aws.ecr.push(REPOSITORY)
    signatures = [aws.ecr.push(REPOSITORY, subject=image) for _ in range(4)]
    signatures.append(aws.ecr.push(REPOSITORY, subject=image, status="ARCHIVED"))
    assert families_of(repository, [ImageId(image), ImageId(signatures[0])]).families == (
        Family(image, None, tuple(signatures)),
        Family(signatures[0], image, ()),
    )
    assert [call.get("nextToken") for call in aws.asked("ListImageReferrers")] == [None, "2", "4", None]
    assert {call["registryId"] for call in aws.asked("ListImageReferrers")} == {"210987654321"}


def test_an_image_has_the_signatures_that_say_so_by_their_tag(repository: Repository, aws: ScriptedAWS) -> None:
    """Cosign's endings, and the OCI fallback without one; one look-up finds those of twenty images."""
    images = [aws.ecr.push(REPOSITORY, f"v{n}") for n in range(20)]
    signatures = {
        image: tuple(aws.ecr.push(REPOSITORY, image.replace(":", "-") + ending) for ending in SIGNATURE_ENDINGS)
        for image in images[::2]
    }
    aws.ecr.push(REPOSITORY, images[0].replace(":", "-") + ".other", GONE.replace(":", "-") + ".sig")
    found = families_of(repository, [ImageId(tag=f"v{n}") for n in range(20)])
    assert found.families == tuple(Family(image, None, signatures.get(image, ())) for image in images)
    assert aws.operations.count("BatchGetImage") == 2


def test_an_image_is_no_relative_of_its_own(repository: Repository, aws: ScriptedAWS) -> None:
    """Whatever its manifest or its tag says; and what belongs to it in two ways does once."""
    image = aws.ecr.push(REPOSITORY, f"sha256-{2 << 32:064x}")  # its own tag calls it a signature of the next
    index = aws.ecr.push(REPOSITORY, children=[image], digest=f"sha256:{2 << 32:064x}")
    aws.ecr.repositories[REPOSITORY][image].subject = index
    aws.ecr.repositories[REPOSITORY][index].children = (image, index)
    assert families_of(repository, [ImageId(index)]).families == (Family(index, None, (image,)),)


def test_what_is_not_there_or_cannot_be_read_has_a_place_of_its_own(repository: Repository, aws: ScriptedAWS) -> None:
    """In the order asked: nothing belongs to what is not there, and of what ECR cannot show it is not known."""
    locked, image = aws.ecr.push(REPOSITORY, "locked", failure="KmsError"), aws.ecr.push(REPOSITORY)
    ids = [ImageId(tag="none"), ImageId(locked), ImageId(image), ImageId(GONE)]
    failure = ImageFailure(ImageId(locked), "KmsError", "The manifest cannot be shown")
    assert families_of(repository, ids).families == (
        None,
        failure,
        Family(image, None, ()),
        None,
    )


@pytest.mark.parametrize(
    "manifest",
    ["", "{", "[]", "null", "17", '"text"', '{"manifests": null}', '{"manifests": [{}]}', '{"manifests": ["sha256"]}'],
)
def test_a_manifest_of_no_known_kind_is_a_failure_of_its_image(
    repository: Repository, aws: ScriptedAWS, manifest: str
) -> None:
    """It costs no other image its relatives."""
    odd, image = aws.ecr.push(REPOSITORY, manifest=manifest), aws.ecr.push(REPOSITORY)
    failure, family = families_of(repository, [ImageId(odd), ImageId(image)]).families
    reason = f"what belongs to it cannot be known: ECR's manifest of {odd} is of no kind we know"
    assert (failure, family) == (ImageFailure(ImageId(odd), "UnreadableIndex", reason), Family(image, None, ()))


@pytest.mark.parametrize("subject", [None, {}, {"digest": None}, "image", []])
def test_a_subject_of_no_known_kind_is_none(repository: Repository, aws: ScriptedAWS, subject: Any) -> None:
    """Whatever a client has pushed."""
    image = aws.ecr.push(REPOSITORY, manifest=json.dumps({"subject": subject}))
    assert families_of(repository, [ImageId(image)]).families == (Family(image, None, ()),)


@pytest.mark.parametrize(
    ("operation", "play"),
    [
        ("BatchGetImage", refused("ThrottlingException")),
        ("BatchGetImage", broken(EndpointConnectionError(endpoint_url=URL))),
        ("BatchGetImage", cut_short),
        ("ListImageReferrers", refused("TooManyRequestsException", 429)),
        ("ListImageReferrers", refused("ServerException", 500)),
        ("ListImageReferrers", broken(ReadTimeoutError(endpoint_url=URL))),
        ("ListImageReferrers", cut_short),
        ("ListImageReferrers", edited(lambda _: {})),
    ],
)
def test_half_a_response_is_none(repository: Repository, aws: ScriptedAWS, operation: str, play: Play) -> None:
    """To find relatives has no effect, so a redelivery tries again; no image is assumed to have none."""
    image = aws.ecr.push(REPOSITORY)
    aws.ecr.push(REPOSITORY, subject=image)
    aws.plays[operation] = [play]
    with pytest.raises(ServiceUnavailableError):
        families_of(repository, [ImageId(image)])


@pytest.mark.parametrize("operation", ["BatchGetImage", "ListImageReferrers"])
def test_a_refusal_for_good_is_a_failure_of_each(repository: Repository, aws: ScriptedAWS, operation: str) -> None:
    """Under ECR's code: no redelivery cures it."""
    ids = (ImageId(aws.ecr.push(REPOSITORY)), ImageId(tag="none"))
    aws.plays[operation] = [refused("AccessDeniedException")]
    failures = tuple(ImageFailure(image_id, "AccessDeniedException", "why") for image_id in ids)
    assert families_of(repository, ids).families == failures


@pytest.mark.parametrize(("calls", "found"), [(3, 1), (4, 2), (6, 4)])
def test_families_are_found_as_long_as_there_is_time(
    repository: Repository, aws: ScriptedAWS, calls: int, found: int
) -> None:
    """Each has a call of its own; a further step finds the others."""
    ids = [ImageId(aws.ecr.push(REPOSITORY)) for _ in range(4)]
    assert len(families_of(repository._replace(calling=time_for(calls)), ids).families) == found


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_no_time_for_any_family_is_an_error(repository: Repository, aws: ScriptedAWS, calls: int) -> None:
    """A redelivery begins with the time of an invocation of its own."""
    with pytest.raises(OutOfTimeError):
        families_of(repository._replace(calling=time_for(calls)), [ImageId(aws.ecr.push(REPOSITORY))])


@pytest.mark.parametrize(("each", "apart", "found"), [(260, 0, 20), (2_000, 2_000, 2)])
def test_as_many_families_are_found_as_one_step_can_store(
    repository: Repository, aws: ScriptedAWS, each: int, apart: int, found: int
) -> None:
    """By their bytes, not by a count: images that many indexes share stand there once."""
    children = [map(digest, range(n * apart, n * apart + each)) for n in range(20)]
    ids = [ImageId(aws.ecr.push(REPOSITORY, children=some)) for some in children]
    outcome = families_of(repository, ids)
    assert len(outcome.families) == found
    assert len(json.dumps(outcome.to_json())) <= STORED_BYTES
    assert FoundFamilies.from_json(json.loads(json.dumps(outcome.to_json(), sort_keys=True))) == outcome


def test_an_image_with_more_relatives_than_one_step_can_store_stays(repository: Repository, aws: ScriptedAWS) -> None:
    """With a way out; the images beside it are found by further steps."""
    index, image = aws.ecr.push(REPOSITORY, children=map(digest, range(5_000))), aws.ecr.push(REPOSITORY)
    [failure] = families_of(repository, [ImageId(index), ImageId(image)]).families
    assert isinstance(failure, ImageFailure)
    assert (failure.image_id, failure.code) == (ImageId(index), "TooManyRelatives")
    assert failure.reason.endswith("name them in requests of their own")
