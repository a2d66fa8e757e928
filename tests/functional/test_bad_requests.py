"""Bad input is never a crash and never silence: each is reported once, kept intact, and delays no other request."""

import json

from tests.harness.outside import Outside

GOOD = {"repositoryName": "team/app", "imageIds": ["imageTag=good"]}


def with_(**more: object) -> str:
    """The good request, but for some of its keys."""
    return json.dumps(GOOD | more)


BAD: dict[str, tuple[str, str]] = {
    "no JSON": ("delete team/app:good please", "not JSON"),
    "JSON cut off": (json.dumps(GOOD)[:-1], "not JSON"),
    "a list": (json.dumps([GOOD]), "request must be an object, not a list"),
    "a string": (json.dumps("imageTag=good"), "request must be an object"),
    "null": ("null", "request must be an object, not null"),
    "nested 100,000 deep": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "a number of 5,000 digits": ("1" * 5_000, "cannot be read as JSON"),
    "a lone surrogate in a tag": ('{"repositoryName": "team/app", "imageIds": ["imageTag=\\ud800"]}', "surrogate"),
    "a lone surrogate in a key": ('{"\\udfff": 1}', "request must contain"),
    "a 1 MiB key": (json.dumps({"k" * 1_000_000: 1} | GOOD), "request must not contain"),
    "a key said twice": ('{"repositoryName": "team/app", "repositoryName": "team/web", "imageIds": [{}]}', "twice"),
    "no repository": (json.dumps({"imageIds": ["imageTag=good"]}), "exactly one of repositoryName and repositoryNames"),
    "no image ids": (json.dumps({"repositoryName": "team/app"}), "exactly one of imageIds and selection"),
    "an empty list of image ids": (with_(imageIds=[]), "request.imageIds must contain at least 1 items"),
    "a misspelt key": (with_(imageTags=["good"]), 'request must not contain "imageTags"; write "imageIds"'),
    "a misspelt key in an id": (with_(imageIds=[{"imageTagg": "a"}]), "request.imageIds[0] must not contain"),
    "an id that is a number": (with_(imageIds=["imageTag=a", 7]), "request.imageIds[1] must be an object or a string"),
    "a tag that is a number": (with_(imageIds=[{"imageTag": 7}]), "request.imageIds[0].imageTag must be a string"),
    "shorthand of another shape": (with_(imageIds=["latest"]), 'write "imageTag=latest"'),
    "a repository name in capitals": (
        with_(repositoryName="MyRepository"),
        "request.repositoryName must be a name as ECR has them",
    ),
    "a registry that is no account": (with_(registryId="1234"), "request.registryId must be an AWS account id"),
    "a foreign registry": (with_(registryId="210987654321"), "request.registryId must be one of 123456789012"),
    "a reason without end": (with_(reason="x" * 257), "request.reason must be shorter than or equal to 256"),
    "an event without an id": (json.dumps({"detail-type": "x", "detail": GOOD}), "request must contain"),
}
"""Messages on the queue, and words of the notices about them."""


def test_bad_requests_are_reported_and_kept(stack: Outside) -> None:
    """Each has one notice, and lies in the dead-letter queue as it was sent; the good one beside them is done."""
    stack.push("good")
    message_ids = {stack.send_text(body): name for name, (body, _) in BAD.items()}
    stack.send_body(GOOD)

    stack.drain(stack.start())

    assert stack.left() == set()
    assert stack.waiting() == []
    assert sorted(stack.dead_letters()) == sorted(body for body, _ in BAD.values())
    assert len(stack.notices("rejection")) == len(stack.notices()) == len(BAD)
    notices = {message_ids[notice.data["origin"]["id"]]: notice for notice in stack.notices()}
    for name, (_, words) in BAD.items():
        assert words in notices[name].data["error"], name
        assert words in notices[name].text
        assert len(notices[name].data["error"]) < 1000
