"""A request that names its images: in any repository, however often an invocation ends, and whatever answer is lost."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from copy import deepcopy
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.models.errors import RejectedRequestError, UnfinishedRequestError
from handler.models.images import ImageId, own_tags, signature_subject
from handler.models.report import DeletionReport
from handler.models.request import DeletionRequest
from handler.workflows.image_ids import NamedImages
from tests.fakes.clients import Clients
from tests.fakes.ecr import FakeECR
from tests.fakes.execution import execution
from tests.fakes.scripted import Play, ScriptedAWS, answered, cut_short, edited, lost, refused
from tests.fakes.steps import KilledError, MemorySteps, StepMemory
from tests.values import deletion_request

REPOSITORY = "team/app"
DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]


def asking(*image_ids: ImageId, cascade: bool | None = True, **changes: Any) -> DeletionRequest:
    """A request for these images and what belongs to them."""
    return deletion_request(*image_ids, cascade=cascade, **changes)


def deliver(
    clients: Clients,
    ecr: FakeECR,
    request: DeletionRequest,
    *,
    plays: Sequence[Play] = (),
    memory: StepMemory | None = None,
    lives: Sequence[tuple[int, bool]] = (),
    **variables: Any,
) -> DeletionReport:
    """Delivers a request until it is done; `lives` say after how many steps an invocation ends, and how."""
    aws = clients.use(ScriptedAWS(ecr=ecr))
    aws.plays["BatchDeleteImage"] = list(plays)
    memory = memory or StepMemory()
    ends = [MemorySteps(memory, survives=survives, does_the_next=does) for survives, does in lives]
    with mock.patch("time.sleep"):
        for _ in range(20):
            steps = ends.pop(0) if ends else MemorySteps(memory)
            try:
                return NamedImages(execution(clients, request, steps, **variables)).carry_out()
            except (KilledError, UnfinishedRequestError):
                continue
    raise AssertionError("it did not come to an end")


def failed(report: DeletionReport) -> list[tuple[ImageId, str]]:
    """The failures without their reasons."""
    return [(failure.image_id, failure.code) for failure in report.failures]


# One request.


def test_without_cascade_no_look_up_is_made(clients: Clients) -> None:
    """One call deletes the images; with it, or where it is said that relatives stay, they are looked for first."""
    for cascade, calls in ((None, 1), (False, 4), (True, 4)):
        ecr = FakeECR()
        ecr.push(REPOSITORY, "v1")
        aws = clients.use(ScriptedAWS(ecr=ecr))
        request = asking(ImageId(tag="v1"), cascade=cascade)
        assert NamedImages(execution(clients, request, MemorySteps())).carry_out().done == 1
        assert aws.calls["ecr"] == calls


@pytest.mark.parametrize(
    ("variables", "code"),
    [({"protected_repositories": ("team/*",)}, "ProtectedRepository"), ({"dry_run": True}, "StoppedByDryRun")],
)
@pytest.mark.parametrize("cascade", [None, True])
def test_nothing_is_asked_of_ecr_where_nothing_may_go(
    clients: Clients,
    variables: dict[str, Any],
    code: str,
    cascade: bool | None,  # noqa: FBT001
) -> None:
    """A protected repository, or a stack whose DryRun was switched on since: neither look-ups nor deletions."""
    ecr = FakeECR()
    ecr.push(REPOSITORY, "v1", children=[child := ecr.push(REPOSITORY)])
    aws = clients.use(ScriptedAWS(ecr=ecr))
    request = asking(ImageId(tag="v1"), cascade=cascade)
    report = NamedImages(execution(clients, request, MemorySteps(), **variables)).carry_out()
    assert failed(report) == [(ImageId(tag="v1"), code)]
    assert (aws.requests, child in ecr.digests(REPOSITORY)) == ([], True)


def test_a_request_that_is_too_large_with_its_relatives_is_rejected(clients: Clients) -> None:
    """Before anything is deleted; one that was admitted stays so, and what is only counted has no limit."""
    ecr = FakeECR()
    index = ecr.push(REPOSITORY, "v1", children=[ecr.push(REPOSITORY) for _ in range(4)])
    request = asking(ImageId(index))
    with pytest.raises(RejectedRequestError, match=r"^request\.cascade: .* 5 images, and a request may delete 4; send"):
        deliver(clients, ecr, request, max_images_per_request=4)
    assert len(ecr.digests(REPOSITORY)) == 5
    dry_run = deliver(clients, ecr, asking(ImageId(index), cascade=False, dry_run=True), max_images_per_request=4)
    assert dry_run.left_untagged == 4
    memory = StepMemory()
    clients.use(ScriptedAWS(ecr=ecr))
    with pytest.raises(KilledError):
        NamedImages(execution(clients, request, MemorySteps(memory, survives=3))).carry_out()
    assert deliver(clients, ecr, request, memory=memory, max_images_per_request=4).done == 1
    assert ecr.digests(REPOSITORY) == set()


def test_a_retry_waits_before_its_chunk_is_asked_for(clients: Clients, sleeps: list[float]) -> None:
    """One second, then two; what could not be deleted at first is then."""
    ecr = FakeECR()
    ecr.push(REPOSITORY, "v1")
    aws = clients.use(ScriptedAWS(ecr=ecr))
    trouble = {"imageId": {"imageTag": "v1"}, "failureCode": "UpstreamUnavailable", "failureReason": "why"}
    aws.plays["BatchDeleteImage"] = [answered({"imageIds": [], "failures": [trouble]})] * 2
    report = NamedImages(execution(clients, asking(ImageId(tag="v1"), cascade=None), MemorySteps())).carry_out()
    assert (report.done, [round(seconds) for seconds in sleeps]) == (1, [1, 2])


@pytest.mark.parametrize("does_the_next", [True, False])
@pytest.mark.parametrize("survives", range(12))
def test_more_than_a_hundred_relatives_go_wherever_an_invocation_ends(
    clients: Clients,
    survives: int,
    does_the_next: bool,  # noqa: FBT001
) -> None:
    """Twenty indexes of six platforms each: their chunks are the same at each redelivery, and nothing is left."""
    ecr = FakeECR()
    indexes = [ecr.push(REPOSITORY, children=[ecr.push(REPOSITORY) for _ in range(6)]) for _ in range(20)]
    report = deliver(clients, ecr, asking(*map(ImageId, indexes)), lives=[(survives, does_the_next)])
    assert (ecr.digests(REPOSITORY), report.done, report.failures, report.kept) == (set(), 20, (), ())
    assert len(report.image_ids) == 140
    assert set(report.unconfirmed) <= set(report.image_ids)


# Any repository, any request, any faults.


class Case(NamedTuple):
    """A repository, a request, and what happens on the way."""

    ecr: FakeECR
    request: DeletionRequest
    lives: list[tuple[int, bool]]
    plays: list[Play]

    def __repr__(self) -> str:
        images = {
            digest[7:8]: (sorted(image.tags), [child[7:8] for child in image.children], (image.subject or "")[7:8])
            for digest, image in self.ecr.repositories[REPOSITORY].items()
        }
        switches = self.request.switches
        return f"{images} {list(map(str, self.request.image_ids))} {switches} {self.lives} {self.plays}"


FAULTS: list[Play] = [
    lambda do: do(),
    lost(),
    cut_short,
    edited(lambda _: {"imageIds": [], "failures": []}),
    edited(lambda answer: answer | {"imageIds": answer["imageIds"][1:]} if not answer["failures"] else {}),
    refused("ServerException", 500),
    refused("ThrottlingException"),
]


@st.composite
def cases(draw: st.DrawFn, *, faults: bool = True) -> Case:
    """Images, indexes of later ones, and signatures of earlier ones by their subject or their tag; few have tags."""
    ecr = FakeECR()
    digests = draw(st.lists(st.sampled_from(DIGESTS), min_size=2, unique=True).map(sorted))
    place = {tag: draw(st.sampled_from([None, *digests])) for tag in ("prod", "v1", "v2")}
    for number, digest in enumerate(digests):
        tags = [tag for tag, of in place.items() if of == digest]
        subject = draw(st.sampled_from([None, None, *digests[:number]]))
        by_tag = draw(st.sampled_from([None, None, *digests[:number]]))
        if by_tag:
            tags.append(by_tag.replace(":", "-") + ".sig")
        children = draw(st.sets(st.sampled_from(digests[number + 1 :]), max_size=3)) if digests[number + 1 :] else ()
        ecr.push(REPOSITORY, *tags, digest=digest, children=sorted(children), subject=subject)
    ids = st.sampled_from([*map(ImageId, DIGESTS), *(ImageId(tag=tag) for tag in ("prod", "v1", "v2"))])
    asked = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    lives = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=2)
    plays = st.lists(st.sampled_from(FAULTS), max_size=4)
    nothing: st.SearchStrategy[list[Any]] = st.just([])
    return Case(
        ecr,
        asking(*asked, cascade=draw(st.booleans())),
        draw(nothing | lives if faults else nothing),
        draw(nothing | plays if faults else nothing),
    )


class Repository:
    """The images of a repository, in plain words."""

    def __init__(self, ecr: FakeECR) -> None:
        self.images = deepcopy(ecr.repositories[REPOSITORY])

    def find(self, image_id: ImageId) -> str | None:
        """The image that an id names."""
        named = (
            digest for digest, image in self.images.items() if image_id.digest == digest or image_id.tag in image.tags
        )
        return next(named, None)

    def users(self, digest: str) -> set[str]:
        """The indexes that name an image, and its subjects."""
        image = self.images[digest]
        subjects = {image.subject, *map(signature_subject, image.tags)}
        return {d for d, other in self.images.items() if digest in other.children or d in subjects}

    def family(self, digests: AbstractSet[str]) -> set[str]:
        """These images, what belongs to them, and in turn what belongs to that."""
        found, before = set(digests), set[str]()
        while found != before:
            before = set(found)
            found |= {digest for digest in self.images if self.users(digest) & found}
        return found

    def relatives(self, family: AbstractSet[str], request: DeletionRequest) -> set[str]:
        """Those of a family that belong to another of it, and are not named by their digest."""
        return {digest for digest in family if self.users(digest) & family} - {i.digest for i in request.image_ids}


@given(case=cases())
@settings(max_examples=settings().max_examples // 2)
def test_a_relative_goes_only_with_all_that_it_belongs_to(clients: Clients, case: Case) -> None:
    """It has no tag of its own, and nothing that is left refers to it; with cascade, all of that goes.

    What carries a protected tag stays, named or not. Whatever happens on the way.
    """
    before = Repository(case.ecr)
    report = deliver(clients, case.ecr, case.request, plays=case.plays, lives=case.lives, protected_tags=("prod",))
    after = Repository(case.ecr)
    asked = {digest for image_id in case.request.image_ids if (digest := before.find(image_id))}
    family, gone = before.family(asked), before.images.keys() - after.images.keys()
    relatives = before.relatives(family, case.request)

    assert gone <= asked | (relatives if case.request.cascade else set())
    for digest in gone:
        assert "prod" not in before.images[digest].tags
    for digest in gone - asked:
        assert not own_tags(before.images[digest].tags, family)
        assert not before.users(digest) & after.images.keys()
    left = {d for d in relatives & after.images.keys() if not own_tags(after.images[d].tags, family)}
    unused = {digest for digest in left if not after.users(digest)}
    if case.request.cascade:
        assert unused <= {str(failure.image_id.digest) for failure in report.failures}
    else:
        # An index beside the family is seen by ECR alone, when it is asked to delete what that names.
        users = {digest: after.users(digest) & (family | {after.images[digest].subject or ""}) for digest in left}
        assert report.left_untagged == sum(not of for of in users.values())


@given(case=cases())
@settings(max_examples=settings().max_examples // 2)
def test_a_report_is_the_truth(clients: Clients, case: Case) -> None:
    """Images that are reported as deleted were there and are gone; failures, and what was kept, have their last code.

    Kept images are no failures.
    """
    before = Repository(case.ecr)
    report = deliver(clients, case.ecr, case.request, plays=case.plays, lives=case.lives, protected_tags=("prod",))
    after = Repository(case.ecr)
    family = before.family({digest for image_id in case.request.image_ids if (digest := before.find(image_id))})
    relatives, failures = before.relatives(family, case.request), dict(failed(report))
    assert report.failed_relatives == len(failures.keys() - set(case.request.image_ids))
    for image_id in (*case.request.image_ids, *failures):
        match failures.get(image_id):
            case None:
                assert after.find(image_id) is None
                assert before.find(image_id) or image_id in report.unconfirmed
            case "ImageNotFound":
                assert before.find(image_id) is None
            case "ImageReferencedByManifestList":
                assert after.users(str(after.find(image_id)))
            case "Unanswered":  # as often as ECR was asked
                assert after.find(image_id)
            case code:
                there = before.images.get(str(before.find(image_id)))
                assert code == "ProtectedTag"
                assert "prod" in {image_id.tag, *(there.tags if there else ())}
    assert set(report.unconfirmed) <= set(report.image_ids)
    kept = {str(kept.image_id.digest): kept.code for kept in report.kept}
    assert len(kept) == len(report.kept)
    for digest, code in kept.items():
        assert digest in relatives
        own = own_tags(after.images[digest].tags, family)
        assert own if code in ("StillTagged", "ProtectedTag") else after.users(digest)
    if case.request.cascade:
        reported = kept.keys() | {after.find(image_id) for image_id in (*case.request.image_ids, *failures)}
        assert relatives & after.images.keys() <= reported


@given(case=cases(faults=False))
@settings(max_examples=settings().max_examples // 2)
def test_a_dry_run_foresees_what_goes(clients: Clients, case: Case) -> None:
    """It changes nothing, and the real one takes no more: less, where an index names an image, as only ECR knows."""
    before = Repository(case.ecr)
    dry = deliver(clients, case.ecr, case.request._replace(dry_run=True))
    assert Repository(case.ecr).images == before.images
    real = deliver(clients, case.ecr, case.request)
    assert set(real.image_ids) <= set(dry.image_ids)
    if not any(image.children for image in before.images.values()):
        assert set(real.image_ids) == set(dry.image_ids)
        assert dry._replace(request=case.request, image_ids=real.image_ids) == real
