"""What guards says of each id, and what it looks up to know; and that the guards of tests/conftest.py hold.

A careless test can neither use a person's account nor reach the network.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.guards import Rules, verdicts, verdicts_on_relatives
from handler.models import DeletionRequest, Image, ImageFailure, ImageId, Origin, Relatives

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "169.254.169.254"])
def test_no_connection_beyond_this_machine(address: str) -> None:
    """A connection to another machine is refused before a packet leaves."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(BaseException, match="beyond this machine"):
        connection.connect((address, 443))


def test_no_datagram_beyond_this_machine() -> None:
    """Nor does a datagram leave."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender, pytest.raises(BaseException, match="beyond this machine"):
        sender.sendto(b"", ("192.0.2.1", 53))


def test_no_name_is_looked_up() -> None:
    """Names of other machines are not even looked up."""
    with pytest.raises(BaseException, match="beyond this machine"):
        socket.getaddrinfo("api.ecr.us-east-1.amazonaws.com", 443)


def test_no_loopback_in_unit_tests() -> None:
    """A unit test cannot reach a server on this machine either."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket() as connection,
        pytest.raises(BaseException, match="not even loopback"),
    ):
        connection.connect(server.getsockname())


def test_no_outage_for_the_code_under_test() -> None:
    """An SDK's call fails the test at once, instead of being retried and handled as an outage."""
    with pytest.raises(BaseException, match="beyond this machine") as refusal:
        boto3.client("ecr").describe_repositories()
    assert not isinstance(refusal.value, Exception)


def test_credentials_open_nothing() -> None:
    """Clients find credentials of no account, and no profile of a person."""
    session = boto3.Session()
    credentials = session.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.secret_key) == ("testing", "testing")
    assert session.available_profiles == []


def test_nothing_of_a_persons_environment_is_left(tmp_path: Path) -> None:
    """Whatever account, profile, endpoint or proxy a person has set, the tests do not see it."""
    persons = {
        "AWS_ACCESS_KEY_ID": "AKIAPERSON",
        "AWS_SECRET_ACCESS_KEY": "person",
        "AWS_SESSION_TOKEN": "person",
        "AWS_PROFILE": "person",
        "AWS_CONFIG_FILE": str(tmp_path / "person"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "person"),
        "AWS_ENDPOINT_URL": "https://person.example",
        "AWS_ENDPOINT_URL_ECR": "https://person.example",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/person",
        "AWS_REGION": "person-1",
        "POWERTOOLS_IDEMPOTENCY_DISABLED": "person",
        "HTTPS_PROXY": "http://person.example",
        "http_proxy": "http://person.example",
    }
    script = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
    command = [sys.executable, "-c", script]
    seen = subprocess.run(
        command, cwd=ROOT, env=os.environ | persons, capture_output=True, check=True, text=True
    ).stdout
    assert not [name for name, value in json.loads(seen).items() if "person" in value.lower() and name in persons]


SEVERAL, SINGLE, UNTAGGED, ABSENT, UNSEEN = (f"sha256:{letter * 64}" for letter in "abcde")
REPOSITORY = {SEVERAL: {"prod-1", "v1", "v2"}, SINGLE: {"only"}, UNTAGGED: set[str]()}
PROTECTED = Rules(protected_tags=("prod*", "*-lts"), protected_repositories=("team/base*", "golden"))
NOTHING_PROTECTED = Rules()


def wish(**changes: Any) -> DeletionRequest:
    """A request; which ids it names, the guards are told apart."""
    fields = {"repository_name": "team/app", "image_ids": ()} | changes
    return DeletionRequest(request_id="r-1", origin=Origin("message", "m-1", "queue"), content_hash="hash", **fields)


class Looks:
    """Looks at the repository, and remembers for which ids; one image cannot be seen."""

    def __init__(self, repository: Mapping[str, set[str]] | None = None) -> None:
        self.repository = REPOSITORY if repository is None else repository
        self.asked: list[set[ImageId]] = []

    def __call__(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
        self.asked.append(set(image_ids))
        found: dict[ImageId, Image | ImageFailure] = {}
        for image_id in image_ids:
            for digest, tags in self.repository.items():
                if image_id.tag in tags or (image_id.tag is None and image_id.digest == digest):
                    found[image_id] = Image(digest, frozenset(tags), pushed=0)
            if image_id.digest == UNSEEN:
                found[image_id] = ImageFailure(image_id, "KmsError", "the key is gone")
        return found


DIGEST_OF_SEVERAL, DIGEST_OF_SINGLE = ImageId(SEVERAL), ImageId(SINGLE)
UNTAG = {"untag": True}

REFUSED: dict[str, tuple[Rules, dict[str, Any], ImageId, str, str]] = {
    "protected tag": (PROTECTED, {}, ImageId(tag="prod-1"), "ProtectedTag", "tags like 'prod*'"),
    "protected tag that is not there": (PROTECTED, {}, ImageId(tag="1-lts"), "ProtectedTag", "tags like '*-lts'"),
    "protected tag, beside its digest": (PROTECTED, {}, ImageId(SEVERAL, "prod-1"), "ProtectedTag", "ProtectedTags"),
    "protected among several tags": (PROTECTED, {}, DIGEST_OF_SEVERAL, "ProtectedTag", "this image carries"),
    "protected, beside another tag": (PROTECTED, {}, ImageId(SEVERAL, "v1"), "ProtectedTag", "this image carries"),
    "protected tag, untag": (PROTECTED, UNTAG, ImageId(tag="prod-1"), "ProtectedTag", "ProtectedTags lists them"),
    "protected repository": (
        PROTECTED,
        {"repository_name": "team/base-image"},
        ImageId(tag="v1"),
        "ProtectedRepository",
        "repositories named 'team/base*'; ProtectedRepositories lists them",
    ),
    "protected repository, untag": (
        PROTECTED,
        {"repository_name": "golden", **UNTAG},
        DIGEST_OF_SEVERAL,
        "ProtectedRepository",
        "'golden'",
    ),
    "last tag": (NOTHING_PROTECTED, UNTAG, ImageId(tag="only"), "LastTag", "send it without untag"),
    "last tag, with digest": (PROTECTED, UNTAG, ImageId(SINGLE, "only"), "LastTag", "the image would go with it"),
    "untag without a tag": (NOTHING_PROTECTED, UNTAG, DIGEST_OF_SEVERAL, "TagRequired", "name the image by one"),
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
def test_what_a_guard_refuses(rules: Rules, changes: dict[str, Any], image_id: ImageId, code: str, reason: str) -> None:
    """The id is not deleted, under a code of its own, and the reason says which rule it was or what to do."""
    (refusal,) = verdicts(rules, wish(**changes), [image_id], Looks()).items()
    assert refusal[0] == refusal[1].image_id == image_id
    assert (refusal[1].code, reason in refusal[1].reason) == (code, True), refusal[1].reason


ACCEPTED: dict[str, tuple[Rules, dict[str, Any], ImageId]] = {
    "another tag of a protected image": (PROTECTED, {}, ImageId(tag="v1")),
    "another tag of a protected image, untag": (PROTECTED, UNTAG, ImageId(tag="v1")),
    "a tag that only contains the pattern": (PROTECTED, {}, ImageId(tag="preprod-1")),
    "a tag of another case": (PROTECTED, {}, ImageId(tag="PROD-1")),
    "an image without a protected tag": (PROTECTED, {}, DIGEST_OF_SINGLE),
    "an image without a tag": (PROTECTED, {}, ImageId(UNTAGGED)),
    "several tags, none protected": (Rules(protected_tags=("latest", "v")), {}, DIGEST_OF_SEVERAL),
    "another repository": (Rules(protected_repositories=("team/app/*", "app", "team/ap")), {}, DIGEST_OF_SEVERAL),
    "one tag of several": (NOTHING_PROTECTED, UNTAG, ImageId(tag="v1")),
    "one tag of several, with digest": (NOTHING_PROTECTED, UNTAG, ImageId(SEVERAL, "prod-1")),
    "a last tag without untag": (PROTECTED, {}, ImageId(tag="only")),
    "a tag that has not moved": (PROTECTED, {}, ImageId(SINGLE, "only")),
    "a tag of several that has not moved": (NOTHING_PROTECTED, {}, ImageId(SEVERAL, "v2")),
}


@pytest.mark.parametrize(("rules", "changes", "image_id"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_guards_let_go(rules: Rules, changes: dict[str, Any], image_id: ImageId) -> None:
    """The nearest thing that each guard is not about is deleted."""
    assert verdicts(rules, wish(**changes), [image_id], Looks()) == {}


def test_each_id_has_its_own_verdict() -> None:
    """What one id meets costs the others nothing, but in a protected repository all stay."""
    image_ids = [ImageId(tag="prod-1"), ImageId(tag="v1"), ImageId(ABSENT), DIGEST_OF_SINGLE, DIGEST_OF_SEVERAL]
    refused = verdicts(PROTECTED, wish(), image_ids, Looks())
    assert [(i, refused[i].code) for i in image_ids if i in refused] == [
        (ImageId(tag="prod-1"), "ProtectedTag"),
        (ImageId(ABSENT), "ImageNotFound"),
        (DIGEST_OF_SEVERAL, "ProtectedTag"),
    ]
    refused = verdicts(PROTECTED, wish(repository_name="golden"), image_ids, Looks())
    assert {(i, refusal.code) for i, refusal in refused.items()} == {(i, "ProtectedRepository") for i in image_ids}


@pytest.mark.parametrize("order", [("v1", "v2", "prod-1"), ("prod-1", "v1", "v2"), ("v2", "prod-1", "v1")])
def test_the_last_of_all_tags_stays(order: tuple[str, ...]) -> None:
    """Whichever comes last, however often the others are named."""
    image_ids = [ImageId(digest, tag) for tag in order for digest in (None, SEVERAL)]
    refused = verdicts(NOTHING_PROTECTED, wish(untag=True), image_ids, Looks())
    assert {(i.tag, refusal.code) for i, refusal in refused.items()} == {(order[-1], "LastTag")}
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("rules", "changes", "image_ids"),
    [
        (NOTHING_PROTECTED, {}, [ImageId(tag="v1"), DIGEST_OF_SEVERAL]),
        (NOTHING_PROTECTED, {"dry_run": True}, [ImageId(tag="v1"), DIGEST_OF_SEVERAL]),
        (Rules(protected_repositories=("golden",)), {}, [ImageId(tag="v1"), DIGEST_OF_SEVERAL]),
        (PROTECTED, {"repository_name": "golden"}, [ImageId(tag="v1"), DIGEST_OF_SEVERAL, ImageId(SINGLE, "only")]),
        (PROTECTED, {}, [ImageId(tag="v1"), ImageId(tag="prod-1"), ImageId(SEVERAL, "prod-1")]),
        (PROTECTED, UNTAG, [ImageId(tag="prod-1"), DIGEST_OF_SEVERAL]),
        (PROTECTED, {}, []),
    ],
)
def test_no_look_where_none_is_needed(rules: Rules, changes: dict[str, Any], image_ids: list[ImageId]) -> None:
    """What is not used costs no call."""
    looks = Looks()
    verdicts(rules, wish(**changes), image_ids, looks)
    assert looks.asked == []


@pytest.mark.parametrize(
    ("rules", "changes", "image_ids", "looked_for"),
    [
        (
            PROTECTED,
            {},
            [ImageId(tag="v1"), DIGEST_OF_SEVERAL, DIGEST_OF_SINGLE],
            {DIGEST_OF_SEVERAL, DIGEST_OF_SINGLE},
        ),
        (NOTHING_PROTECTED, {}, [DIGEST_OF_SEVERAL, ImageId(SINGLE, "only")], {ImageId(SINGLE, "only")}),
        (
            NOTHING_PROTECTED,
            UNTAG,
            [ImageId(tag="v1"), ImageId(SEVERAL, "v2")],
            {ImageId(None, "v1"), ImageId(SEVERAL, "v2")},
        ),
        (PROTECTED, UNTAG, [ImageId(tag="v1"), ImageId(tag="prod-1"), DIGEST_OF_SINGLE], {ImageId(tag="v1")}),
    ],
)
def test_one_look_where_one_is_needed(
    rules: Rules, changes: dict[str, Any], image_ids: list[ImageId], looked_for: set[ImageId]
) -> None:
    """At all the ids that it takes to be sure of, and at no others."""
    looks = Looks()
    verdicts(rules, wish(**changes), image_ids, looks)
    assert looks.asked == [looked_for]


INDEX, OTHER_INDEX, CHILD = (f"sha256:{digit * 64}" for digit in "123")
BOTH_INDEXES = Relatives({CHILD: [INDEX, OTHER_INDEX]})


def verdict_on_child(
    repository: dict[str, set[str]],
    relatives: Relatives = BOTH_INDEXES,
    *,
    gone: Sequence[ImageId] = (),
    **changes: Any,
) -> tuple[str, str] | None:
    """Whether the relative stays, once all that goes is gone from the repository; and why."""
    looks = Looks(repository)
    fields: dict[str, Any] = {"cascade": True} | changes
    kept = verdicts_on_relatives(wish(**fields), relatives, set(gone), [ImageId(CHILD)], looks)
    assert looks.asked == [{ImageId(digest) for digest in (CHILD, *relatives.parents[CHILD])}]
    assert kept.keys() <= {ImageId(CHILD)}
    return next(((failure.code, failure.reason) for failure in kept.values()), None)


def test_a_relative_goes_with_all_that_name_it() -> None:
    """Both its indexes are gone and it has no tag of its own."""
    assert verdict_on_child({CHILD: set(), SEVERAL: {"v1"}}) is None


def test_a_relative_with_tags_of_its_own_stays() -> None:
    """Somebody means it, whatever became of its indexes."""
    kept = ("StillTagged", "it has a tag of its own: linux")
    assert verdict_on_child({CHILD: {"linux", "v1-amd64"}}) == kept
    assert verdict_on_child({CHILD: {"linux"}, INDEX: set()}, cascade=False) == kept


@pytest.mark.parametrize("user", [INDEX, OTHER_INDEX])
@pytest.mark.parametrize("tags", [set(), {"v1"}, {"v1", "v2"}])
def test_a_relative_that_one_of_two_still_needs_stays(user: str, tags: set[str]) -> None:
    """Whichever of its indexes is still there, tagged or not."""
    assert verdict_on_child({CHILD: set(), user: tags}) == ("StillUsed", f"{user} still needs it")


def test_a_relative_of_what_cannot_be_seen_stays() -> None:
    """An index that ECR does not show may be there."""
    assert verdict_on_child({CHILD: set()}, Relatives({CHILD: [UNSEEN]})) == ("StillUsed", f"{UNSEEN} still needs it")


def test_a_relative_that_is_gone_or_not_seen() -> None:
    """Nothing is deleted that was not looked at."""
    assert verdict_on_child({}) == ("ImageNotFound", "Requested image not found")
    child = ImageId(UNSEEN)
    kept = verdicts_on_relatives(wish(cascade=True), Relatives({UNSEEN: [INDEX]}), set(), [child], Looks({}))
    assert kept == {child: ImageFailure(child, "KmsError", "the key is gone")}


def test_a_relative_is_left_untagged_where_the_request_says_so() -> None:
    """Only what would have gone counts: not what is still tagged, used, or gone."""
    assert verdict_on_child({CHILD: set()}, cascade=False) == ("LeftUntagged", "what it belonged to is gone")
    assert verdict_on_child({CHILD: set()}, cascade=True) is None
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


def test_all_relatives_are_looked_at_at_once() -> None:
    """With those that name them, each once."""
    relatives, looks = Relatives({CHILD: [INDEX], SINGLE: [INDEX, CHILD], UNTAGGED: [INDEX]}), Looks()
    image_ids = [ImageId(digest) for digest in relatives.parents]
    kept = verdicts_on_relatives(wish(cascade=True), relatives, set(), image_ids, looks)
    assert looks.asked == [{*image_ids, ImageId(INDEX)}]
    assert {i.digest: failure.code for i, failure in kept.items()} == {CHILD: "ImageNotFound", SINGLE: "StillTagged"}
