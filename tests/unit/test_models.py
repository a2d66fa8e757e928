"""The words: which ids can name an image, what an answer holds, and how things are cut to size."""

import json
from copy import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.models import (
    ChunkOutcome,
    DeletionReport,
    DeletionRequest,
    ImageFailure,
    ImageId,
    Origin,
    largest,
    names,
)

DIGEST = "sha256:" + "a" * 64
ACCOUNT = "123456789012"

CAN_NAME_AN_IMAGE = [
    ImageId(tag="a"),
    ImageId(tag="_"),
    ImageId(tag="0"),
    ImageId(tag="a" * 300),
    ImageId(tag="V1.2_3-rc"),
    ImageId(tag="a.-"),
    ImageId(DIGEST),
    ImageId("sha256:" + "0123456789abcdef" * 4),
    ImageId("sha256:" + "ABCDEF0123456789" * 4),
    ImageId(DIGEST, "precise"),
]

CAN_NAME_NONE = [
    (ImageId(), "MissingDigestAndTag"),
    (ImageId(tag=""), "InvalidImageTag"),
    (ImageId(tag="a" * 301), "InvalidImageTag"),
    (ImageId(tag="precise\n"), "InvalidImageTag"),
    (ImageId(tag="\nprecise"), "InvalidImageTag"),
    (ImageId(tag=" precise"), "InvalidImageTag"),
    (ImageId(tag=".a"), "InvalidImageTag"),
    (ImageId(tag="-a"), "InvalidImageTag"),
    (ImageId(tag="a:b"), "InvalidImageTag"),
    (ImageId(tag="a/b"), "InvalidImageTag"),
    (ImageId(tag="é"), "InvalidImageTag"),
    (ImageId(tag="٣"), "InvalidImageTag"),
    (ImageId(tag=DIGEST), "InvalidImageTag"),
    (ImageId(""), "InvalidImageDigest"),
    (ImageId(DIGEST + "\n"), "InvalidImageDigest"),
    (ImageId(DIGEST[:-1]), "InvalidImageDigest"),
    (ImageId(DIGEST + "a"), "InvalidImageDigest"),
    (ImageId("sha256:" + "g" * 64), "InvalidImageDigest"),
    (ImageId("SHA256:" + "a" * 64), "InvalidImageDigest"),
    (ImageId("sha512:" + "a" * 128), "InvalidImageDigest"),
    (ImageId("a" * 64), "InvalidImageDigest"),
    (ImageId("precise"), "InvalidImageDigest"),
    (ImageId("", "precise"), "InvalidImageDigest"),
    (ImageId("", ""), "InvalidImageDigest"),
    (ImageId(DIGEST, ""), "InvalidImageTag"),
]


@pytest.mark.parametrize("image_id", CAN_NAME_AN_IMAGE)
def test_an_id_that_can_name_an_image(image_id: ImageId) -> None:
    """ECR may be asked for it, and decides."""
    assert image_id.malformed() is None


@pytest.mark.parametrize(("image_id", "code"), CAN_NAME_NONE)
def test_an_id_that_can_name_none(image_id: ImageId, code: str) -> None:
    """It is its own failure, under ECR's code, and says what would be right."""
    failure = image_id.malformed()
    assert failure is not None
    assert (failure.image_id, failure.code) == (image_id, code)
    assert failure.reason.startswith("Invalid request parameters: ")


def test_what_is_told_of_an_id_without_end_has_one() -> None:
    """A tag of 300,000 characters fails like any other, and takes nobody's place in an answer or a notice."""
    failure = ImageId("none", "x" * 300_000).malformed()
    assert failure is not None
    assert failure.image_id == ImageId("none", "x" * 1_000 + "...")
    assert failure.image_id.malformed() is not None


@pytest.mark.parametrize(
    ("image_id", "value", "text"),
    [
        (ImageId(), {}, ""),
        (ImageId(tag="a"), {"imageTag": "a"}, "imageTag=a"),
        (ImageId("d"), {"imageDigest": "d"}, "imageDigest=d"),
        (ImageId("d", "a"), {"imageDigest": "d", "imageTag": "a"}, "imageDigest=d,imageTag=a"),
        (ImageId("", ""), {"imageDigest": "", "imageTag": ""}, "imageDigest=,imageTag="),
    ],
)
def test_an_id_is_written_as_ecr_and_the_cli_write_it(image_id: ImageId, value: dict[str, str], text: str) -> None:
    """An empty member is there, an absent one is not."""
    assert image_id.to_json() == value
    assert ImageId.from_json(value) == image_id
    assert str(image_id) == text


def test_an_image_answers_to_its_digest_its_tag_and_both() -> None:
    """By any of these it may have been asked for."""
    assert names([ImageId("d", "a")]) == {ImageId("d", "a"), ImageId("d"), ImageId(tag="a")}


def report(image_ids: int, failures: int, omitted: int = 0) -> DeletionReport:
    """A report of so many images."""
    gone = tuple(ImageId(DIGEST, f"gone-{n}") for n in range(image_ids))
    failed = tuple(ImageFailure(ImageId(tag=f"kept-{n}"), "ImageNotFound", "no such image") for n in range(failures))
    asked = tuple(f.image_id for f in failed) + gone
    request = DeletionRequest("r-1", "team/app", asked, Origin("message", "m-1", "queue"), "hash")
    return DeletionReport(request, gone, failed, omitted)


def test_an_answer_is_the_output_of_the_cli_and_whose_it_is() -> None:
    """What was deleted and what failed, in ECR's own form, beside the keys of the request."""
    assert report(1, 1).to_answer(ACCOUNT) == {
        "imageIds": [{"imageDigest": DIGEST, "imageTag": "gone-0"}],
        "failures": [
            {"imageId": {"imageTag": "kept-0"}, "failureCode": "ImageNotFound", "failureReason": "no such image"}
        ],
        "requestId": "r-1",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
    }


def test_an_answer_names_the_registry_that_was_asked() -> None:
    """The one of the request when it has one."""
    request = DeletionRequest(
        "r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash", registry_id="210987654321"
    )
    assert DeletionReport(request, (), ()).to_answer(ACCOUNT)["registryId"] == "210987654321"


def test_an_answer_tells_what_the_store_left_out() -> None:
    """Entries that no longer fitted beside an outcome are counted, also in an answer that is not cut."""
    answer = report(2, 0, omitted=3).to_answer(ACCOUNT)
    assert (len(answer["imageIds"]), answer["imageIdsOmitted"]) == (2, 3)


KEPT = tuple(ImageFailure(ImageId(f"sha256:{n:064}"), "StillTagged", "it has a tag") for n in range(20))


def test_an_answer_tells_of_a_dry_run_and_of_relatives() -> None:
    """That it was one; what was kept and why; and how many were left, only where they were looked for."""
    plain = report(1, 0)
    assert not plain.to_answer(ACCOUNT).keys() & {"dryRun", "kept", "leftUntagged", "keptOmitted"}
    told = replace(plain, request=replace(plain.request, dry_run=True, cascade=False), kept=KEPT[:1], left_untagged=2)
    assert {key: told.to_answer(ACCOUNT)[key] for key in ("dryRun", "leftUntagged", "kept")} == {
        "dryRun": True,
        "leftUntagged": 2,
        "kept": [
            {"imageId": {"imageDigest": KEPT[0].image_id.digest}, "code": "StillTagged", "reason": "it has a tag"}
        ],
    }
    for cascade in (None, True):
        answer = replace(told, request=replace(told.request, cascade=cascade)).to_answer(ACCOUNT)
        assert "leftUntagged" not in answer


@pytest.mark.parametrize("limit", range(600, 9_000, 700))
def test_what_was_kept_is_cut_before_failures_and_after_the_deleted(limit: int) -> None:
    """Whatever is left out is counted beside its kind."""
    answer = replace(report(20, 20), kept=KEPT).to_answer(ACCOUNT, limit)
    assert len(json.dumps(answer)) <= limit
    failures, kept, gone = (len(answer[key]) for key in ("failures", "kept", "imageIds"))
    assert failures + answer.get("failuresOmitted", 0) == 20
    assert kept + answer.get("keptOmitted", 0) == 20
    assert gone + answer.get("imageIdsOmitted", 0) == 20
    assert failures == 20 or kept == 0
    assert kept == 20 or gone == 0


WHOLE = len(json.dumps(report(20, 20).to_answer(ACCOUNT)))


@pytest.mark.parametrize("limit", [*range(600, WHOLE + 200, 97), WHOLE - 1, WHOLE, WHOLE + 1])
def test_an_answer_is_cut_to_its_limit(limit: int) -> None:
    """Failures are the last to go, the counts add up, and what is left fills the limit as far as it can."""
    answer = report(20, 20).to_answer(ACCOUNT, limit)
    size = len(json.dumps(answer))
    told, gone = len(answer["failures"]), len(answer["imageIds"])
    assert size <= limit
    assert size > min(limit, WHOLE) - 150
    assert told + answer.get("failuresOmitted", 0) == 20
    assert gone + answer.get("imageIdsOmitted", 0) == 20
    assert told == 20 or gone == 0
    assert ("failuresOmitted" in answer, "imageIdsOmitted" in answer) == (told < 20, gone < 20)


def test_an_answer_of_a_full_repository_fits_lambda() -> None:
    """30,000 failures of the longest tags are more than Lambda's 6 MB."""
    failures = tuple(ImageFailure(ImageId(tag=f"{n:0300}"), "ImageNotFound", "r" * 100) for n in range(30_000))
    request = DeletionRequest("r-1", "a", tuple(f.image_id for f in failures), Origin("message", "m-1", "q"), "hash")
    answer = DeletionReport(request, (), failures).to_answer(ACCOUNT)
    assert 5_990_000 < len(json.dumps(answer)) <= 6_000_000
    assert answer["failures"] == [f.to_json() for f in failures[: len(answer["failures"])]]
    assert len(answer["failures"]) + answer["failuresOmitted"] == 30_000


IDS = st.builds(ImageId, st.none() | st.text(max_size=3), st.none() | st.text(max_size=3))
FAILURES = st.builds(ImageFailure, IDS, st.text(max_size=3), st.text(max_size=3))


@given(
    st.builds(
        ChunkOutcome,
        st.lists(IDS, max_size=4).map(tuple),
        st.lists(FAILURES, max_size=4).map(tuple),
        omitted=st.integers(0),
        replayed=st.just(False),  # noqa: FBT003  # a strategy
    )
)
def test_an_outcome_comes_back_from_the_store(outcome: ChunkOutcome) -> None:
    """What was stored as JSON is read as it was; that it was replayed is the store's to add."""
    stored = json.loads(json.dumps(outcome.to_json()))
    assert ChunkOutcome.from_json(stored) == outcome
    assert ChunkOutcome.from_json(stored | {"replayed": True}).replayed


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(0, 200), st.integers(0, 40))
def test_largest_is_the_largest_that_fits(growth: list[int], limit: int, saved: int) -> None:
    """As a search through every count would find it; the whole may be smaller than a part, as it needs no counts."""
    sizes = [sum(growth[:n]) for n in range(len(growth) + 1)]
    sizes[-1] -= min(saved, sizes[-1])
    fitting = [n for n, size in enumerate(sizes) if size <= limit]
    assert largest(lambda n: n, len(growth), sizes.__getitem__, limit) == max(fitting, default=0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_largest_builds_nothing_rather_than_too_much(count: int) -> None:
    """Where not even nothing fits, nothing is what there is."""
    assert largest(lambda n: n, count, lambda _: 10, 9) == 0
