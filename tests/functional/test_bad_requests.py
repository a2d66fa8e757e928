"""Bad input is never a crash and never silence: told once, kept intact, and at nobody else's cost."""

import json

from local.aws import EmbeddedAWS
from local.images import push_image
from local.poller import Poller

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
    "a number of 5,000 digits": ("1" * 5_000, "not JSON that can be read"),
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
"""What is on the queue, and what its notice says."""


def test_bad_requests_are_told_and_kept_and_the_good_one_is_carried_out(aws: EmbeddedAWS, poller: Poller) -> None:
    """Each bad body is told once, and lies in the dead-letter queue as it was sent; the good one is carried out."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    push_image(aws.client("ecr"), "team/app", tags=["good"])
    sqs, queue = aws.client("sqs"), aws.outputs["RequestQueueUrl"]
    message_ids = {}
    for name, (body, _) in BAD.items():
        message_ids[sqs.send_message(QueueUrl=queue, MessageBody=body)["MessageId"]] = name
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(GOOD))

    poller.drain()

    assert aws.images("team/app") == set()
    assert sorted(aws.messages("DeadLetterQueue")) == sorted(body for body, _ in BAD.values())
    assert aws.messages("RequestQueue") == []
    told = {message_ids[notice.data["origin"]["id"]]: notice for notice in aws.notices()}
    assert told.keys() == BAD.keys()
    assert len(aws.notices()) == len(BAD)
    for name, (_, words) in BAD.items():
        assert told[name].data["type"] == "rejection"
        assert words in told[name].data["error"], name
        assert words in told[name].text
        assert len(told[name].data["error"]) < 1000
