"""Guards against deletion: the verdict on each id, what is looked up for it, and what holds in any repository."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import batched, chain
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler import guards
from handler.guards import Rules
from handler.models.images import Image, ImageFailure, ImageId, ListedImage, ids_of
from handler.models.outcomes import ChunkOutcome
from handler.models.request import DeletionRequest
from handler.registry import Repository, delete_images
from tests.fakes.clients import Clients
from tests.fakes.ecr import FakeECR
from tests.fakes.execution import UNHURRIED
from tests.fakes.scripted import ScriptedAWS
from tests.values import LOG, deletion_request, names_one

SEVERAL, SINGLE, UNTAGGED, ABSENT, UNSEEN, INDEX, OTHER_INDEX, CHILD = (f"sha256:{d * 64}" for d in "abcde123")
IMAGES = {SEVERAL: {"prod-1", "v1", "v2"}, SINGLE: {"only"}, UNTAGGED: set[str]()}
PROTECTED = Rules(protected_tags=("prod*", "*-lts"), protected_repositories=("team/base*", "golden"))
NOTHING_PROTECTED = Rules()
UNTAG = {"untag": True}


class LookUps:
    """Looks up images by digest and tags, and remembers for which ids; one image cannot be seen."""

    def __init__(self, images: Mapping[str, set[str]] | None = None) -> None:
        self.images = IMAGES if images is None else images
        self.asked: list[set[ImageId]] = []

    def __call__(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
        self.asked.append(set(image_ids))
        found: dict[ImageId, Image | ImageFailure] = {}
        for image_id in image_ids:
            for digest, tags in self.images.items():
                if image_id.tag in tags or (image_id.tag is None and image_id.digest == digest):
                    found[image_id] = Image(digest, frozenset(tags), pushed=0)
            if image_id.digest == UNSEEN:
                found[image_id] = ImageFailure(image_id, "KmsError", "the key is gone")
        return found


# The repository.


@pytest.mark.parametrize("name", ["team/base", "team/base-image", "golden"])
def test_nothing_goes_from_a_protected_repository(name: str) -> None:
    """Each id is refused, with the pattern and the parameter to change; no look-up is made for it."""
    ids = [ImageId(tag="v1"), ImageId(SEVERAL)]
    refused = guards.on_repository(PROTECTED, deletion_request(repository_name=name), ids)
    assert {image_id: failure.code for image_id, failure in refused.items()} == dict.fromkeys(
        ids, "ProtectedRepository"
    )
    assert re.search(r"named '(team/base\*|golden)'; ProtectedRepositories", refused[ids[0]].reason)


@pytest.mark.parametrize("patterns", [("team/app/*", "app", "team/ap"), ("TEAM/APP",), ()])
def test_a_pattern_protects_what_it_matches_as_a_whole(patterns: tuple[str, ...]) -> None:
    """Case counts."""
    rules = Rules(protected_repositories=patterns)
    assert guards.on_repository(rules, deletion_request(), [ImageId(tag="v1")]) == {}


def test_the_stacks_dry_run_stops_a_real_request_half_way() -> None:
    """Images that it has left alone are failures; a request that began dry stays dry."""
    rules, ids = Rules(dry_run=True), [ImageId(tag="v1"), ImageId(SEVERAL)]
    refused = guards.on_dry_run(rules, deletion_request(), ids)
    assert [(i, failure.code) for i, failure in refused.items()] == [(i, "StoppedByDryRun") for i in ids]
    assert guards.on_dry_run(rules, deletion_request(dry_run=True), ids) == {}


# Named images.

REFUSED: dict[str, tuple[Rules, dict[str, Any], ImageId, str, str]] = {
    "protected tag": (PROTECTED, {}, ImageId(tag="prod-1"), "ProtectedTag", "tags like 'prod*'"),
    "protected tag that is not there": (PROTECTED, {}, ImageId(tag="1-lts"), "ProtectedTag", "tags like '*-lts'"),
    "protected tag, beside its digest": (PROTECTED, {}, ImageId(SEVERAL, "prod-1"), "ProtectedTag", "ProtectedTags"),
    "protected among several tags": (PROTECTED, {}, ImageId(SEVERAL), "ProtectedTag", "this image carries"),
    "protected, beside another tag": (PROTECTED, {}, ImageId(SEVERAL, "v1"), "ProtectedTag", "this image carries"),
    "protected tag, untag": (PROTECTED, UNTAG, ImageId(tag="prod-1"), "ProtectedTag", "ProtectedTags lists them"),
    "last tag": (NOTHING_PROTECTED, UNTAG, ImageId(tag="only"), "LastTag", "send it without untag"),
    "last tag, with digest": (PROTECTED, UNTAG, ImageId(SINGLE, "only"), "LastTag", "the image would go with it"),
    "untag without a tag": (NOTHING_PROTECTED, UNTAG, ImageId(SEVERAL), "TagRequired", "name the image by one"),
    "untag of nothing": (NOTHING_PROTECTED, UNTAG, ImageId(), "TagRequired", "without untag"),
    "moved": (NOTHING_PROTECTED, {}, ImageId(SINGLE, "v1"), "ImageTagDoesNotMatchDigest", f"names {SEVERAL} by now"),
    "moved, its image gone": (NOTHING_PROTECTED, {}, ImageId(ABSENT, "v1"), "ImageTagDoesNotMatchDigest", "ask for it"),
    "moved, untag": (PROTECTED, UNTAG, ImageId(SINGLE, "v1"), "ImageTagDoesNotMatchDigest", "by now"),
    "digest not found": (PROTECTED, {}, ImageId(ABSENT), "ImageNotFound", "not found"),
    "tag not found beside its digest": (NOTHING_PROTECTED, {}, ImageId(SEVERAL, "v9"), "ImageNotFound", "not found"),
    "tag not found, untag": (NOTHING_PROTECTED, UNTAG, ImageId(tag="v9"), "ImageNotFound", "not found"),
    "not seen": (PROTECTED, {}, ImageId(UNSEEN), "KmsError", "the key is gone"),
    "not seen, untag": (NOTHING_PROTECTED, UNTAG, ImageId(UNSEEN, "v8"), "KmsError", "the key is gone"),
}


@pytest.mark.parametrize(("rules", "changes", "image_id", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_guard_refuses_an_id(
    rules: Rules, changes: dict[str, Any], image_id: ImageId, code: str, reason: str
) -> None:
    """Under a code of its own, and the reason says which rule it was or what to do."""
    [(refused, failure)] = guards.on_named(rules, deletion_request(**changes), [image_id], LookUps()).items()
    assert refused == failure.image_id == image_id
    assert failure.code == code
    assert reason in failure.reason


ACCEPTED: dict[str, tuple[Rules, dict[str, Any], ImageId]] = {
    "another tag of a protected image": (PROTECTED, {}, ImageId(tag="v1")),
    "another tag of a protected image, untag": (PROTECTED, UNTAG, ImageId(tag="v1")),
    "a tag that only contains the pattern": (PROTECTED, {}, ImageId(tag="preprod-1")),
    "a tag of another case": (PROTECTED, {}, ImageId(tag="PROD-1")),
    "an image without a protected tag": (PROTECTED, {}, ImageId(SINGLE)),
    "an image without a tag": (PROTECTED, {}, ImageId(UNTAGGED)),
    "several tags, none protected": (Rules(protected_tags=("latest", "v")), {}, ImageId(SEVERAL)),
    "one tag of several": (NOTHING_PROTECTED, UNTAG, ImageId(tag="v1")),
    "one tag of several, with digest": (NOTHING_PROTECTED, UNTAG, ImageId(SEVERAL, "prod-1")),
    "a last tag without untag": (PROTECTED, {}, ImageId(tag="only")),
    "a tag that has not moved": (PROTECTED, {}, ImageId(SINGLE, "only")),
    "a tag of several that has not moved": (NOTHING_PROTECTED, {}, ImageId(SEVERAL, "v2")),
}


@pytest.mark.parametrize(("rules", "changes", "image_id"), ACCEPTED.values(), ids=ACCEPTED)
def test_the_guards_let_the_nearest_other_id_go(rules: Rules, changes: dict[str, Any], image_id: ImageId) -> None:
    """The nearest thing that each guard is not about is deleted."""
    assert guards.on_named(rules, deletion_request(**changes), [image_id], LookUps()) == {}


@pytest.mark.parametrize("order", [("v1", "v2", "prod-1"), ("prod-1", "v1", "v2"), ("v2", "prod-1", "v1")])
def test_the_last_of_all_tags_stays(order: tuple[str, ...]) -> None:
    """Whichever comes last, however often the others are named."""
    ids = [ImageId(digest, tag) for tag in order for digest in (None, SEVERAL)]
    refused = guards.on_named(NOTHING_PROTECTED, deletion_request(untag=True), ids, LookUps())
    assert {(i.tag, failure.code) for i, failure in refused.items()} == {(order[-1], "LastTag")}
    assert len(refused) == 2


TAG, DIGEST = ImageId(tag="v1"), ImageId(SEVERAL)
LOOKED_UP: dict[str, tuple[Rules, dict[str, Any], list[ImageId], set[ImageId]]] = {
    "nothing protected": (NOTHING_PROTECTED, {}, [TAG, DIGEST], set()),
    "a dry run": (NOTHING_PROTECTED, {"dry_run": True}, [TAG, DIGEST], set()),
    "repositories protected": (Rules(protected_repositories=("golden",)), {}, [TAG, DIGEST], set()),
    "tags that are protected by name": (PROTECTED, {}, [TAG, ImageId(tag="prod-1"), ImageId(SINGLE, "prod-1")], set()),
    "untag of what is refused": (PROTECTED, UNTAG, [ImageId(tag="prod-1"), DIGEST], set()),
    "no ids": (PROTECTED, {}, [], set()),
    "digests, tags protected": (PROTECTED, {}, [TAG, DIGEST, ImageId(SINGLE)], {DIGEST, ImageId(SINGLE)}),
    "both names": (NOTHING_PROTECTED, {}, [DIGEST, ImageId(SINGLE, "only")], {ImageId(SINGLE, "only")}),
    "untag": (NOTHING_PROTECTED, UNTAG, [TAG, ImageId(SEVERAL, "v2")], {TAG, ImageId(SEVERAL, "v2")}),
    "untag, tags protected": (PROTECTED, UNTAG, [TAG, ImageId(tag="prod-1"), DIGEST], {TAG}),
}


@pytest.mark.parametrize(("rules", "changes", "image_ids", "looked_up"), LOOKED_UP.values(), ids=LOOKED_UP)
def test_a_guard_looks_up_only_what_a_rule_in_use_must_know(
    rules: Rules, changes: dict[str, Any], image_ids: list[ImageId], looked_up: set[ImageId]
) -> None:
    """All of it at once; a guard that is not used costs no call."""
    look_ups = LookUps()
    guards.on_named(rules, deletion_request(**changes), image_ids, look_ups)
    assert look_ups.asked == ([looked_up] if looked_up else [])


# Relatives.


def verdict_on_child(
    images: dict[str, set[str]],
    parents: Sequence[str] = (INDEX, OTHER_INDEX),
    *,
    gone: Sequence[ImageId] = (),
    rules: Rules = NOTHING_PROTECTED,
    **changes: Any,
) -> tuple[str, str] | None:
    """Why the relative stays, if it does, with these images left in the repository."""
    look_ups, child = LookUps(images), ImageId(CHILD)
    request = deletion_request(**({"cascade": True} | changes))
    kept = guards.on_relatives(rules, request, {CHILD: parents}, set(gone), [child], look_ups)
    assert look_ups.asked == [{child, *map(ImageId, parents)}]
    assert kept.keys() <= {child}
    return next(((failure.code, failure.reason) for failure in kept.values()), None)


def test_a_relative_goes_with_all_that_it_belonged_to() -> None:
    """Both its indexes are gone, and it has no tag of its own."""
    assert verdict_on_child({CHILD: set(), SEVERAL: {"v1"}}) is None


def test_a_relative_with_a_tag_of_its_own_stays() -> None:
    """Somebody means it, whatever became of its indexes."""
    kept = ("StillTagged", "it has a tag of its own: linux")
    assert verdict_on_child({CHILD: {"linux", "v1-amd64"}}) == kept
    assert verdict_on_child({CHILD: {"linux"}, INDEX: set()}, cascade=False) == kept


@pytest.mark.parametrize("ending", ["", ".sig", ".att", ".sbom"])
def test_a_signatures_tag_is_none_of_its_own(ending: str) -> None:
    """It only says whose signature it is; beside another tag, or as that of another image, it counts."""
    tag = INDEX.replace(":", "-") + ending
    assert verdict_on_child({CHILD: {tag}}) is None
    assert verdict_on_child({CHILD: {tag, "v1"}}) == ("StillTagged", "it has a tag of its own: v1")
    assert verdict_on_child({CHILD: {tag}}, [OTHER_INDEX]) == ("StillTagged", f"it has a tag of its own: {tag}")
    kept = verdict_on_child({CHILD: {tag}}, rules=Rules(protected_tags=("sha256-*",)))
    assert kept
    assert kept[0] == "ProtectedTag"


@pytest.mark.parametrize("user", [INDEX, OTHER_INDEX])
@pytest.mark.parametrize("tags", [set(), {"v1"}, {"v1", "v2"}])
def test_a_relative_that_one_of_two_still_needs_stays(user: str, tags: set[str]) -> None:
    """Whichever of its indexes is still there, tagged or not; one that ECR does not show may be there."""
    assert verdict_on_child({CHILD: set()}, [UNSEEN]) == ("StillUsed", f"{UNSEEN} still needs it")
    assert verdict_on_child({CHILD: set(), user: tags}) == ("StillUsed", f"{user} still needs it")


def test_a_relative_that_is_gone_or_cannot_be_seen_is_not_deleted() -> None:
    """Nothing goes that was not looked at."""
    assert verdict_on_child({}) == ("ImageNotFound", "Requested image not found")
    child = ImageId(UNSEEN)
    kept = guards.on_relatives(Rules(), deletion_request(cascade=True), {UNSEEN: [INDEX]}, set(), [child], LookUps({}))
    assert kept == {child: ImageFailure(child, "KmsError", "the key is gone")}


def test_a_relative_is_left_untagged_where_the_request_says_so() -> None:
    """Only what would have gone counts: not what is still tagged, used, or gone."""
    assert verdict_on_child({CHILD: set()}, cascade=False) == ("LeftUntagged", "what it belonged to is gone")
    assert verdict_on_child({CHILD: set(), INDEX: set()}, cascade=False) == ("StillUsed", f"{INDEX} still needs it")
    assert verdict_on_child({}, cascade=False) == ("ImageNotFound", "Requested image not found")


@pytest.mark.parametrize(
    ("tags", "gone", "stays"),
    [
        ({"v1", "v2"}, [ImageId(INDEX, "v1"), ImageId(INDEX, "v2")], False),
        ({"v1", "v2"}, [ImageId(INDEX, "v1")], True),
        ({"v1"}, [ImageId(OTHER_INDEX, "v1")], True),
        ({"v1"}, [], True),
        (set(), [ImageId(INDEX)], False),
        (set(), [], True),
    ],
)
def test_a_dry_run_foresees_which_relatives_go(tags: set[str], gone: list[ImageId], stays: bool) -> None:  # noqa: FBT001
    """As if all that would have gone were gone: an index goes with the last of its tags."""
    kept = ("StillUsed", f"{INDEX} still needs it") if stays else None
    assert verdict_on_child({CHILD: set(), INDEX: tags}, gone=gone, dry_run=True) == kept
    assert verdict_on_child({CHILD: set(), INDEX: tags}, gone=gone) == ("StillUsed", f"{INDEX} still needs it")


def test_relatives_are_looked_up_at_once() -> None:
    """With those that they belong to, each once; and without any, nothing is."""
    parents, look_ups = {CHILD: [INDEX], SINGLE: [INDEX, CHILD], UNTAGGED: [INDEX]}, LookUps()
    ids = list(map(ImageId, parents))
    kept = guards.on_relatives(Rules(), deletion_request(cascade=True), parents, set(), ids, look_ups)
    assert {i.digest: failure.code for i, failure in kept.items()} == {CHILD: "ImageNotFound", SINGLE: "StillTagged"}
    assert guards.on_relatives(Rules(), deletion_request(cascade=True), parents, set(), [], look_ups) == {}
    assert look_ups.asked == [{*ids, ImageId(INDEX)}]


# Selections, and several repositories.


def test_a_selected_image_that_has_changed_stays() -> None:
    """Tagged since it was selected, gone, or not to be seen; one that lost a tag is what was meant."""
    listed = [(UNTAGGED, ()), (SEVERAL, ("v1", "v2")), (SINGLE, ("only", "lost")), (ABSENT, ()), (UNSEEN, ())]
    selected = {
        ImageId(digest): ListedImage(digest, tags, 0, None, 1, is_index=False, subject=None) for digest, tags in listed
    }
    refused = guards.on_selected(selected, list(selected), LookUps())
    assert {str(image_id.digest): (failure.code, failure.reason) for image_id, failure in refused.items()} == {
        SEVERAL: ("TaggedSince", "it has been tagged prod-1 since it was selected"),
        ABSENT: ("ImageNotFound", "Requested image not found"),
        UNSEEN: ("KmsError", "the key is gone"),
    }


def test_patterns_of_repositories_mean_what_the_stack_allows() -> None:
    """Not what it protects, nor what is beyond RepositoryPattern; a name that is given stays, to be refused as such."""
    existing = ["golden", "other", "team/a", "team/b", "team/base", "teams"]
    rules = PROTECTED._replace(repository_patterns=("team/*",))

    def allowed(*names: str) -> list[str]:
        return guards.allowed_repositories(rules, deletion_request(repository_names=names), lambda: existing)

    assert allowed("*") == ["team/a", "team/b"]
    assert allowed("team/b*", "golden", "team/b", "none") == ["golden", "none", "team/b"]


def test_repositories_are_listed_only_for_a_pattern() -> None:
    """Names alone need no call."""

    def list_repositories() -> list[str]:
        raise AssertionError("listed")

    request = deletion_request(repository_names=("team/b", "team/a"))
    assert guards.allowed_repositories(PROTECTED, request, list_repositories) == ["team/a", "team/b"]


# Any repository, and any request: an oracle of its own says what is protected, and what a refusal may be for.

DIGESTS = [SEVERAL, SINGLE, UNTAGGED, ABSENT]
TAGS = ["prod", "prod-1", "pre-prod", "v1", "v1-lts", "v2", "latest"]
PATTERNS = ["prod", "prod*", "*-lts", "v*1", "*prod*", "latest", "*"]

type Images = dict[str, set[str]]
type Case = tuple[Images, bool, Rules, DeletionRequest]


class RecordedECR(FakeECR):
    """Remembers what each deletion removed."""

    def __init__(self, images: Images, *, digest_outweighs_tag: bool) -> None:
        super().__init__(digest_outweighs_tag=digest_outweighs_tag)
        self.repositories["team/app"] = {}
        for digest, tags in images.items():
            self.push("team/app", *sorted(tags), digest=digest)
        self.removed: list[tuple[str, set[str], bool]] = []
        """The digest of each image, the tags that went, and whether the image went with them."""

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        before = self.images() if operation == "BatchDeleteImage" else {}
        answer = super().call(operation, parameters)
        after = self.images()
        for digest, tags in before.items():
            if after.get(digest) != tags:
                self.removed.append((digest, tags - after.get(digest, set()), digest not in after))
        return answer

    def images(self) -> Images:
        """The tags of each image."""
        return {digest: set(image.tags) for digest, image in self.repositories["team/app"].items()}


def requests(images: Images) -> st.SearchStrategy[DeletionRequest]:
    """Any ids, but mostly such as name something: by tag, by digest and by both."""
    pairs = [(digest, tag) for digest, tags in images.items() for tag in sorted(tags)]
    good = [ImageId(*pair) for pair in pairs] + [ImageId(tag=tag) for _, tag in pairs] + [*map(ImageId, images)]
    anything = st.builds(ImageId, st.sampled_from([None, *DIGESTS]), st.sampled_from([None, *TAGS])).filter(any)
    ids = st.lists(st.sampled_from(good) | anything if good else anything, min_size=1, max_size=8, unique=True)
    return st.builds(lambda ids, untag: deletion_request(*ids, untag=untag), ids, st.booleans())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images with no tag, one, or several, where each tag names one image or none; what is protected; and a request."""
    images: Images = {digest: set() for digest in draw(st.lists(st.sampled_from(DIGESTS), max_size=3, unique=True))}
    for tag in TAGS if images else ():
        if digest := draw(st.sampled_from([None, *images])):
            images[digest].add(tag)
    patterns = draw(st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True))
    return images, draw(st.booleans()), Rules(protected_tags=tuple(patterns)), draw(requests(images))


def outcome_of(
    clients: Clients,
    case: Case,
    *,
    chunk: int = 2,
    dry_run: bool = False,
    between: Callable[[RecordedECR], None] = lambda _: None,
) -> tuple[RecordedECR, ChunkOutcome]:
    """The repository after a request, and what it reports; before each chunk, something else may happen."""
    images, careless, rules, request = case
    ecr = RecordedECR(images, digest_outweighs_tag=careless)
    clients.use(ScriptedAWS(ecr=ecr))
    repository = Repository(clients.ecr_client, "team/app", None, UNHURRIED.calling, UNHURRIED.sleep)
    guard = partial(guards.on_named, rules, request)
    outcomes: list[ChunkOutcome] = []
    for ids in batched(request.image_ids, chunk, strict=False):
        between(ecr)
        effect = "simulate" if dry_run else request.effect
        with mock.patch("time.sleep"):
            outcomes.append(delete_images(repository, ids, guard, LOG, effect=effect, first_attempt_at=None))
    gone, failures, unconfirmed = (
        tuple(chain.from_iterable(some))
        for some in zip(*((o.image_ids, o.failures, o.unconfirmed) for o in outcomes), strict=True)
    )
    return ecr, ChunkOutcome(gone, failures, unconfirmed)


def protected(rules: Rules, tag: str | None) -> bool:
    """A glob pattern in the words of regular expressions."""
    patterns = [".*".join(map(re.escape, pattern.split("*"))) for pattern in rules.protected_tags]
    return tag is not None and any(re.fullmatch(pattern, tag) for pattern in patterns)


@given(case=cases())
@settings(max_examples=settings().max_examples // 2)
def test_nothing_that_is_protected_goes(clients: Clients, case: Case) -> None:
    """Neither a protected tag, nor an image that has one, whether ECR takes an image or a tag for both names.

    To untag takes no image, and no last tag.
    """
    images, _, rules, request = case
    ecr, _ = outcome_of(clients, case)
    for digest, tags, image_too in ecr.removed:
        assert not any(protected(rules, tag) for tag in (images[digest] if image_too else tags))
    if request.untag:
        assert ecr.images().keys() == images.keys()
        assert all(ecr.images()[digest] for digest, tags in images.items() if tags)


@given(case=cases())
@settings(max_examples=settings().max_examples // 2)
def test_an_id_is_refused_only_for_a_reason_that_holds(clients: Clients, case: Case) -> None:
    """Each named something and is gone, or is refused; and all that went is in the outcome."""
    images, _, rules, request = case
    ecr, outcome = outcome_of(clients, case)
    after, went_along = ecr.images(), ids_of(outcome.image_ids)
    failed = {f.image_id: f.code for f in outcome.failures if f.code != "ImageNotFound" or f.image_id not in went_along}
    for image_id in request.image_ids:
        there = names_one(images, image_id)
        around = {image_id.tag, *images.get(str(image_id.digest), ())}
        holds = {
            None: there and not names_one(after, image_id),
            "ProtectedTag": any(protected(rules, tag) for tag in around),
            "TagRequired": request.untag and image_id.tag is None,
            "LastTag": request.untag and {image_id.tag} in after.values(),
            "ImageTagDoesNotMatchDigest": names_one(images, image_id._replace(digest=None)) and not there,
            "ImageNotFound": not there,
        }
        assert holds[failed.get(image_id)]
    lost: set[tuple[str, str | None]] = {(digest, tag) for digest, tags, _ in ecr.removed for tag in tags}
    lost |= {(digest, None) for digest, tags, image_too in ecr.removed if image_too and not tags}
    assert lost == set(outcome.image_ids) - set(outcome.unconfirmed)


@given(case=cases(), data=st.data())
def test_a_tag_that_moves_between_two_chunks_is_not_followed(clients: Clients, case: Case, data: st.DataObject) -> None:
    """An id with both names takes its tag only from that very image; and what gains a protected tag stays."""
    _, careless, rules, request = case
    moves = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(DIGESTS)), max_size=2)

    def move(ecr: RecordedECR) -> None:
        for tag, digest in data.draw(moves):
            if digest in ecr.digests("team/app"):
                ecr.tag("team/app", digest, tag)
            else:
                ecr.push("team/app", tag, digest=digest)

    both = tuple(image_id for image_id in request.image_ids if image_id.digest and image_id.tag)
    request = request._replace(image_ids=both or request.image_ids)
    ecr, outcome = outcome_of(clients, (case[0], careless, rules, request), between=move)
    assert not [tags for _, tags, _ in ecr.removed if any(protected(rules, tag) for tag in tags)]
    if both:
        done = set(both) - {failure.image_id for failure in outcome.failures}
        assert {(digest, tag) for digest, tags, _ in ecr.removed for tag in tags} >= done
        assert {digest for digest, _, _ in ecr.removed} == {image_id.digest for image_id in done}


@given(case=cases())
@settings(max_examples=settings().max_examples // 2)
def test_a_dry_run_changes_nothing_and_foresees_the_refusals(clients: Clients, case: Case) -> None:
    """Of what fits one call, it refuses just what the real request refuses."""
    images = case[0]
    ecr, dry = outcome_of(clients, case, chunk=100, dry_run=True)
    assert (ecr.images(), ecr.removed) == (images, [])
    _, real = outcome_of(clients, case, chunk=100)
    went_along = ids_of(real.image_ids)
    assert [(f.image_id, f.code) for f in dry.failures] == [
        (f.image_id, f.code) for f in real.failures if f.code != "ImageNotFound" or f.image_id not in went_along
    ]
