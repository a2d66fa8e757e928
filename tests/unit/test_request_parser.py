"""The meaning of a request: its key, its images or selection, its switches, and what cannot be asked for together."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from handler.models.errors import RejectedRequestError
from handler.models.images import ImageId
from handler.models.request import DeletionRequest, Selection
from handler.request_parser import over_limits, parse_request
from tests.values import ACCOUNT, FOREIGN, ORIGIN, REQUEST, digest, payload

DIGEST = digest(1)
ANY_TAG: dict[str, Any] = {"tagStatus": "tagged", "tagPatternList": ["*"]}
SELECTION: dict[str, Any] = {"repositoryName": "team/app", "selection": ANY_TAG}


def parsed(content: Any, **changes: Any) -> DeletionRequest:
    """Returns the request in a message."""
    return parse_request(payload(content, **changes))


def selected(**words: Any) -> DeletionRequest:
    """Returns the request for a selection."""
    return parsed({"repositoryName": "team/app", "selection": words})


def image_ids(*values: str | Mapping[str, object]) -> tuple[ImageId, ...]:
    """Returns what a request with these imageIds asks for."""
    return parsed(REQUEST | {"imageIds": list(values)}).image_ids


def test_every_key_of_a_request_is_read() -> None:
    """All of it is kept; what is absent is off, or none."""
    content = REQUEST | {"registryId": FOREIGN, "reason": "unused"}
    request = parsed(content)
    assert (request.repository_name, request.image_ids) == ("team/app", (ImageId(tag="pr-417"),))
    assert (request.registry_id, request.reason, request.origin, request.payload) == (
        FOREIGN,
        "unused",
        ORIGIN,
        content,
    )
    least = parsed(REQUEST)
    assert (least.registry_id, least.reason, least.selection, least.repository_names) == (None, None, None, ())
    assert (least.switches, least.allow_percent, least.turn) == ({}, None, 0)


def test_the_key_is_the_requestid_or_that_of_the_arrival() -> None:
    """The requester's own id comes first, however the request arrived."""
    assert (parsed(REQUEST).key, parsed(REQUEST).request_id) == (("message", "message-1"), "message-1")
    own = parsed(REQUEST | {"requestId": "mine"}, key=("event", "event-1"))
    assert (own.key, own.request_id) == (("request", "mine"), "mine")


def test_a_message_that_this_function_sent_keeps_the_key_of_its_envelope() -> None:
    """A requestId beside it cannot change what the message is the continuation of."""
    own = parsed(REQUEST | {"requestId": "mine"}, key=("child", "x"), request_id="x/team/app", turn=2)
    assert (own.key, own.request_id, own.turn) == (("child", "x"), "x/team/app", 2)


@pytest.mark.parametrize("name", ["<aws.scheduler.scheduled-time>", "nightly/<aws.scheduler.execution-id>"])
def test_a_placeholder_that_scheduler_did_not_fill_in_is_rejected(name: str) -> None:
    """Every later run would have the key of the first, and silently do nothing."""
    with pytest.raises(
        RejectedRequestError, match=r"^request.requestId holds a placeholder, .* send it as the input of"
    ):
        parsed(REQUEST | {"requestId": name})
    assert parsed(REQUEST | {"requestId": "nightly/2026-01-01T04:00:00Z", "reason": name}).reason == name


DISTINCT: list[dict[str, Any]] = [
    REQUEST,
    SELECTION,
    REQUEST | {"repositoryName": "debian"},
    *(REQUEST | {"registryId": account} for account in (ACCOUNT, FOREIGN)),
    *(REQUEST | {key: "mine"} for key in ("requestId", "reason")),
    *(
        REQUEST | {"imageIds": ids}
        for ids in (
            ["imageTag=a", "imageTag=b"],
            ["imageTag=b", "imageTag=a"],
            ["imageTag=a", "imageTag=b", "imageTag=c"],
            ["imageTag=a,imageDigest=b"],
            ["imageTag=b,imageDigest=a"],
            ["imageDigest=a"],
            ["imageTag=a"],
            ["imageTag=,imageDigest="],
            ["imageTag="],
        )
    ),
    *(
        REQUEST | switches
        for switches in (
            {"dryRun": True},
            {"untag": True},
            {"cascade": True},
            {"cascade": False},
            {"notify": "always"},
            {"dryRun": True, "cascade": True},
            {"dryRun": True, "untag": True},
        )
    ),
]


def test_other_content_has_another_hash() -> None:
    """A key that is used again for anything else is noticed, be it only that ids were swapped or a switch was set."""
    assert len({parsed(content).content_hash for content in DISTINCT}) == len(DISTINCT)


@pytest.mark.parametrize("content", DISTINCT)
def test_the_same_content_has_the_same_hash(content: dict[str, Any]) -> None:
    """However it arrives, in whatever order its keys stand, and where ids are repeated."""
    turned = dict(reversed(content.items()))
    if "imageIds" in turned:
        turned["imageIds"] = [*turned["imageIds"], turned["imageIds"][0]]
    hashes = {parsed(content).content_hash, parsed(turned, key=("event", "e-1")).content_hash}
    assert len(hashes) == 1


@pytest.mark.parametrize("switches", [{}, {"dryRun": True}, {"untag": True}, {"cascade": False, "notify": "always"}])
def test_the_switches_of_a_request(switches: dict[str, Any]) -> None:
    """Each is off unless the request sets it."""
    request = parsed(REQUEST | switches)
    assert request.switches == switches
    assert (request.dry_run, request.untag, request.cascade, request.notify) == (
        *(switches.get(key, False) for key in ("dryRun", "untag")),
        switches.get("cascade"),
        switches.get("notify", "failures"),
    )


def test_half_a_surrogate_pair_is_no_character() -> None:
    """JSON can spell what UTF-8 cannot hold, and neither a notice nor ECR could take it."""
    changes: list[dict[str, Any]] = [{key: "\ud800"} for key in ("requestId", "reason")]
    changes += [
        {"imageIds": [value]} for value in ({"imageTag": "\ud800"}, {"imageDigest": "\ud800"}, "imageTag=\ud800")
    ]
    for change in changes:
        with pytest.raises(RejectedRequestError, match="half a surrogate pair"):
            parsed(REQUEST | change)


# What the AWS CLI 1.46 makes of the same strings in `aws ecr batch-delete-image --image-ids`.
SHORTHAND = [
    ("imageTag=precise", ImageId(tag="precise")),
    (f"imageDigest={DIGEST}", ImageId(DIGEST)),
    (f"imageDigest={DIGEST},imageTag=precise", ImageId(DIGEST, "precise")),
    (f"imageTag=precise, imageDigest={DIGEST}", ImageId(DIGEST, "precise")),
    (f"imageTag=precise ,\n imageDigest={DIGEST} ", ImageId(DIGEST, "precise")),
    ("imageTag= precise", ImageId(tag="precise")),
    ("imageTag=precise\n", ImageId(tag="precise")),
    ("imageTag=\u00a0precise", ImageId(tag="\u00a0precise")),
    ("imageTag=two words", ImageId(tag="two words")),
    ("imageTag=", ImageId(tag="")),
    ("imageTag=,imageDigest=", ImageId("", "")),
    ('imageTag=""', ImageId(tag="")),
    ("imageTag='precise'", ImageId(tag="precise")),
    ('imageTag=" a "', ImageId(tag=" a ")),
    ("imageTag='a,imageDigest=b'", ImageId(tag="a,imageDigest=b")),
    ("""imageTag="it's",imageDigest='"b"'""", ImageId('"b"', "it's")),
    ("imageTag=a=b", ImageId(tag="a=b")),
    ("imageTag=a;imageDigest=b", ImageId(tag="a;imageDigest=b")),
    ("imageTag=\\a", ImageId(tag="\\a")),
    ("imageTag=é", ImageId(tag="é")),
]


@pytest.mark.parametrize(("text", "image_id"), SHORTHAND)
def test_shorthand_means_what_it_means_to_the_cli(text: str, image_id: ImageId) -> None:
    """Either member first, quoted or not; sent as JSON it is the same request, and so a duplicate."""
    assert image_ids(text) == (image_id,)
    plain = parsed(REQUEST | {"imageIds": [image_id.to_json()]})
    assert parsed(REQUEST | {"imageIds": [text]})._replace(payload=plain.payload) == plain


@pytest.mark.parametrize(
    "text",
    [
        # Not even the CLI takes these,
        *("", "precise", "imageTag", "imageTag:a", " imageTag=a", "imageTag=a,", "imageTag=a,imageTag=b"),
        *("imageTag=a,imageDigest=b,imageTag=c", 'imageTag="a', "imageTag='a", 'imageTag=a"b"', 'imageTag="a"b'),
        # and these it reads as something that is no image id, as a list, or only after unescaping.
        *("tag=a", "imagetag=a", "ImageTag=a", "imageTag =a", "imageTag@=file", "imageTag=a,b", "imageTag=[a,b]"),
        *("imageTag=a,imageDigest", "imageTag=a,,imageDigest=b", "imageTag=a\\,b", 'imageTag="a\\"b"'),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    """Nothing is guessed: the request is rejected, with the place of the text in it."""
    with pytest.raises(RejectedRequestError, match=r"^request\.imageIds\[1\] must "):
        image_ids("imageTag=fine", text)


@pytest.mark.parametrize("value", ["[a]", "{a=b}", "[a", "a]", "=a", "a\0", '"\\\\"'])
def test_lists_and_escapes_never_turn_into_an_image(value: str) -> None:
    """Where this function and the CLI read a text differently, neither reads it as an image that could exist."""
    [image_id] = image_ids(f"imageTag={value}")
    failure = image_id.malformed()
    assert failure is not None
    assert failure.code == "InvalidImageTag"


def test_an_id_is_asked_once_in_the_place_of_its_first() -> None:
    """However it is spelt; and an id that a log prints can be sent."""
    ids: list[Any] = [
        "imageTag=b",
        {"imageTag": "a"},
        {"imageTag": "b"},
        "imageTag='a'",
        "imageTag=b,imageDigest=d",
        "imageTag=c",
    ]
    expected = (ImageId(tag="b"), ImageId(tag="a"), ImageId("d", "b"), ImageId(tag="c"))
    assert image_ids(*ids) == expected
    assert image_ids(*map(str, expected)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"tagStatus": "tagged", "tagPatternList": ["pr-*", "a*b"]}, Selection("tagged", ("pr-*", "a*b"))),
        ({"tagStatus": "tagged", "tagPrefixList": ["pr-", "v"]}, Selection("tagged", ("pr-*", "v*"))),
        (
            {"tagStatus": "any", "excludeTagPatternList": ["prod*"], "keepMostRecent": 3},
            Selection("any", (), ("prod*",), keep_most_recent=3),
        ),
        (
            {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 100_000},
            Selection("untagged", count_type="imageCountMoreThan", count_number=100_000),
        ),
        *(
            (
                {"tagStatus": "untagged", "countType": since, "countUnit": "days", "countNumber": 14},
                Selection("untagged", count_type=since, count_number=14),
            )
            for since in ("sinceImagePushed", "sinceImagePulled")
        ),
    ],
)
def test_a_selection_has_the_words_of_a_lifecycle_policy(words: dict[str, Any], expected: Selection) -> None:
    """A prefix is a pattern that ends in a star."""
    request = selected(**words)
    assert (request.selection, request.image_ids) == (expected, ())


SINCE = {"countType": "sinceImagePushed", "countNumber": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"tagStatus": "untagged"}, 'with tagStatus "untagged" must contain countType or keepMostRecent'),
        ({"tagStatus": "any", "excludeTagPatternList": ["prod"]}, 'tagStatus "any" must contain countType or keepMost'),
        (
            {"tagStatus": "tagged", "keepMostRecent": 1},
            'with tagStatus "tagged" must contain tagPatternList or tagPref',
        ),
        ({**ANY_TAG, "tagPrefixList": ["a"]}, "must not contain both tagPatternList and tagPrefixList"),
        *(
            (
                {**ANY_TAG, "tagStatus": status, "keepMostRecent": 1},
                f'with tagStatus "{status}" must not contain tag pat',
            )
            for status in ("untagged", "any")
        ),
        ({**ANY_TAG, "countType": "imageCountMoreThan"}, "must contain countType and countNumber together, or neither"),
        ({**ANY_TAG, "countNumber": 1}, "must contain countType and countNumber together, or neither"),
        *(
            ({**ANY_TAG, **words}, f'with {name} must contain "storageClass": "archive"')
            for words, name in (
                (SINCE | {"countType": "sinceImageTransitioned", "countUnit": "days"}, 'countType ".*"'),
                ({"countType": "gracePeriodEnded"}, 'countType ".*"'),
                ({"archivedBy": "r-1"}, "archivedBy"),
                ({"archivedBy": "r-1", "storageClass": "standard"}, "archivedBy"),
            )
        ),
        (
            {**ANY_TAG, "storageClass": "archive", "countType": "gracePeriodEnded", "countNumber": 1},
            '"gracePeriodEnded" must not contain countNumber',
        ),
        ({"tagStatus": "any", "storageClass": "archive"}, "must contain countType or keepMostRecent"),
        *(
            (
                {**ANY_TAG, **words},
                'must contain "countUnit": "days" with sinceImagePushed, sinceImagePulled, sinceImageTransitioned, and',
            )
            for words in (
                {"countUnit": "days"},
                {"countType": "imageCountMoreThan", "countNumber": 1, "countUnit": "days"},
                SINCE,
                SINCE | {"countType": "sinceImagePulled"},
            )
        ),
    ],
)
def test_a_selection_that_cannot_be_meant_is_rejected(words: dict[str, Any], message: str) -> None:
    """One that would mean everything by omission, or contradicts itself."""
    with pytest.raises(RejectedRequestError, match=f"^request.selection .*{message}"):
        selected(**words)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "1e300"])
@pytest.mark.parametrize("key", ["keepMostRecent", "countNumber"])
def test_a_number_that_json_does_not_have_is_rejected(key: str, number: str) -> None:
    """Python reads more numbers than JSON has; none of them overflows anything."""
    with pytest.raises(RejectedRequestError, match=f"^request.selection.{key} must be "):
        selected(**ANY_TAG, **{key: json.loads(number)})


IN_ARCHIVE: dict[str, Any] = {"storageClass": "archive"}
IDS: dict[str, Any] = {"imageIds": ["imageTag=precise"]}
MEANT: dict[str, Any] = {"selection": ANY_TAG}
ONE: dict[str, Any] = {"repositoryName": "team/app"}
MANY: dict[str, Any] = {"repositoryNames": ["team/app", "team/*"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ONE | IDS | {"untag": True, "cascade": True}, "request.untag keeps every image, so request.cascade cannot"),
        *((ONE | MEANT | {"cascade": value}, "request.cascade is for imageIds") for value in (True, False)),
        *(
            (
                ONE | {"selection": {"tagStatus": status, "keepMostRecent": 1}, "untag": True},
                'request.untag .*"tagged"$',
            )
            for status in ("untagged", "any")
        ),
        *(
            (ONE | IDS | {"action": action, key: value}, f"request.{key} is for deletions")
            for action in ("archive", "restore")
            for key in ("cascade", "untag")
            for value in (True, False)
        ),
        *(
            (
                ONE | {"selection": ANY_TAG | words, "action": action},
                f'.* "{action}" .* say "storageClass": "{wanted}"$',
            )
            for action, wanted, words in (
                ("archive", "standard", IN_ARCHIVE),
                ("restore", "archive", {}),
                ("restore", "archive", {"storageClass": "standard"}),
            )
        ),
        (
            ONE | {"selection": ANY_TAG | IN_ARCHIVE | {"countType": "gracePeriodEnded"}, "action": "restore"},
            'request.selection with countType "gracePeriodEnded" is for deletions',
        ),
        *(
            (content, "request must contain exactly one of imageIds and selection$")
            for content in (ONE | IDS | MEANT, ONE)
        ),
        *(
            (content, "request must contain exactly one of repositoryName and repositoryNames$")
            for content in (ONE | MANY | MEANT, IDS, MEANT, {}, {"state": "running"})
        ),
        (ONE | IDS | {"allowPercent": 50}, "request.allowPercent is for a selection"),
    ],
)
def test_what_cannot_be_asked_for_together_is_rejected(content: dict[str, Any], message: str) -> None:
    """The error names what contradicts."""
    with pytest.raises(RejectedRequestError, match=f"^{message}"):
        parsed(content)


@pytest.mark.parametrize(
    "content",
    [
        ONE | IDS | {"untag": True, "cascade": False},
        ONE | IDS | {"untag": False, "cascade": True},
        ONE | MEANT | {"untag": True},
        ONE | {"selection": {"tagStatus": "any", "keepMostRecent": 1}, "untag": False},
        *(ONE | IDS | {"action": action} for action in ("delete", "archive", "restore")),
        ONE | MEANT | {"action": "archive"},
        ONE | {"selection": ANY_TAG | {"storageClass": "standard"}, "action": "archive"},
        ONE | {"selection": ANY_TAG | IN_ARCHIVE, "action": "restore"},
        ONE | {"selection": ANY_TAG | IN_ARCHIVE, "action": "delete"},
        ONE | {"selection": {"tagStatus": "any", "archivedBy": "r-1"} | IN_ARCHIVE, "action": "restore"},
        ONE | {"selection": {"tagStatus": "any", "countType": "gracePeriodEnded"} | IN_ARCHIVE},
        ONE | MEANT | {"allowPercent": 50, "dryRun": True, "notify": "always"},
        MANY | MEANT | {"allowPercent": 50},
        MANY | IDS,
    ],
)
def test_what_can_be_asked_for_together_is_taken(content: dict[str, Any]) -> None:
    """The nearest to what is rejected."""
    request = parsed(content)
    assert (request.payload, request.allow_percent) == (content, content.get("allowPercent"))


CHILD = ("child", ["request", "nightly"], "team/app", "claim-1")


@pytest.mark.parametrize("content", [MANY | IDS, MANY | MEANT, MANY | MEANT | {"dryRun": True}])
def test_several_repositories_can_have_one_summary(content: dict[str, Any]) -> None:
    """Of named images as of a selection; that is what each of its parts says too, and part of what was asked."""
    request = parsed(content | {"notify": "summary"})
    assert (request.notify, request.switches.get("notify")) == ("summary", "summary")
    assert request.content_hash != parsed(content).content_hash
    part = {key: value for key, value in content.items() if key != "repositoryNames"} | ONE
    child = parsed(part | {"notify": "summary"}, key=CHILD, request_id="nightly/team/app")
    assert (child.notify, child.repository_name, child.part_of) == ("summary", "team/app", "nightly")
    assert "notify" not in child.switches


@pytest.mark.parametrize("key", [("message", "m-1"), ("event", "e-1"), ("request", "child"), ()])
@pytest.mark.parametrize("meant", [IDS, MEANT])
def test_one_repository_has_no_summary(key: tuple[str, ...], meant: dict[str, Any]) -> None:
    """Its report is one already: the error says how to get it."""
    with pytest.raises(RejectedRequestError) as error:
        parsed(ONE | meant | {"notify": "summary"}, key=key)
    assert str(error.value) == (
        'request.notify "summary" is one report for all of repositoryNames; for one repository say "always"'
    )


@pytest.mark.parametrize("value", ["", "failures", "Summary", "never", True, None, ["summary"]])
def test_other_words_about_notices_are_rejected(value: Any) -> None:
    """Failures alone is what a request gets that says nothing."""
    with pytest.raises(RejectedRequestError, match=r"^request\.notify must be "):
        parsed(MANY | MEANT | {"notify": value})


@pytest.mark.parametrize("content", [ONE | IDS, MANY | MEANT, {"metadata": {}, "data": {}}, None, "text"])
def test_what_became_of_a_request_is_no_request(content: Any) -> None:
    """Whatever it holds, a valid request too: the error says which rule to correct, and how."""
    with pytest.raises(RejectedRequestError) as error:
        parsed(content, is_result=True)
    assert str(error.value) == (
        "this event says what became of a request, and is none: the rule that sent it must leave out the detail types "
        "ECR Image Deletion Completed, Rejected and Summarized"
    )


def test_each_repository_is_meant_once() -> None:
    """In the order of their first; no single one is meant then."""
    request = parsed(MEANT | {"repositoryNames": ["team/*", "ubuntu", "team/*"]})
    assert (request.repository_name, request.repository_names) == ("", ("team/*", "ubuntu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"registryId": ACCOUNT}, None),
        ({"registryId": FOREIGN}, None),
        (
            {"registryId": "999999999999"},
            f"request.registryId must be one of {ACCOUNT}, {FOREIGN}; the stack's Foreign",
        ),
        ({"imageIds": ["imageTag=a", "imageTag=b", "imageTag=c", "imageTag=a"]}, None),
        ({"imageIds": [f"imageTag={n}" for n in range(4)]}, "request.imageIds must name at most 3 images, not 4; "),
        ({"imageIds": [f"imageTag={n}" for n in range(1_234)]}, "at most 3 images, not 1,234; .* MaxImagesPerRequest$"),
    ],
)
@pytest.mark.parametrize("switches", [{}, {"dryRun": True}, {"untag": True}])
def test_limits_are_no_matter_of_parsing(
    changes: dict[str, Any], message: str | None, switches: dict[str, bool]
) -> None:
    """A request is the same under any limits; these say why they do not admit it, and which parameter says so."""
    refusal = over_limits(
        parsed(REQUEST | switches | changes), (ACCOUNT, FOREIGN), max_images=3, max_percent=50, allow_archive=True
    )
    assert refusal is None if message is None else re.search(message, str(refusal))
