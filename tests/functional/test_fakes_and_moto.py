"""The fakes of the unit tests are held to moto's services, as corrected in local/: the same calls, the same answers."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.ecr.models import ecr_backends

from handler import step_table
from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.ecr_storage import StorageChoices
from tests.fakes.aws import FakeAWS

type Json = dict[str, Any]
type Call = Callable[..., Json]

TABLE = "held-to-motos"
TAGS = ["v1", "v2", "v3"]
IMAGE, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"


class Pair:
    """The client of a service and that of its fake, which are asked the same."""

    def __init__(self, service: Any, fake: Any, aws: FakeAWS) -> None:
        self.aws = aws
        self._service, self._fake = service, fake

    def ask(self, operation: str, seen: Callable[[Json], Any], **parameters: Any) -> Any:
        """Returns what both answer, as far as it is looked at, or the code of the error that both raise."""
        answers = [self.outcome(client, operation, seen, parameters) for client in (self._service, self._fake)]
        assert answers[0] == answers[1], f"{operation} {parameters}"
        return answers[0]

    @staticmethod
    def outcome(client: Any, operation: str, seen: Callable[[Json], Any], parameters: Json) -> Any:
        """Returns the answer of a client, as far as it is looked at."""
        try:
            return seen(getattr(client, operation)(**parameters))
        except ClientError as error:
            shown = {key: value for key, value in error.response.items() if key == "Item"}
            return error.response["Error"]["Code"], shown


def pair(embedded: EmbeddedAWS, service: Any) -> Pair:
    """A pair of clients, which check no parameters by themselves."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    fake, aws = boto3.client(service, config=config), FakeAWS()
    aws.connect(fake)
    return Pair(boto3.client(service, config=config, endpoint_url=embedded.endpoint_url), fake, aws)


# ECR.


class Registry:
    """A repository in both."""

    def __init__(self, ecr: Pair) -> None:
        self.ecr = ecr
        self.name = f"team/{uuid4()}"
        self.pushed: list[str] = []
        """The digest of each image that was ever pushed, in order."""
        ecr._service.create_repository(repositoryName=self.name)
        ecr.aws.ecr.repositories[self.name] = {}

    def push(self, number: int, tag: str | None, children: list[str], subject: str | None) -> None:
        """Pushes a manifest; the same again is the same image, which may get a further tag."""
        manifest: Json = {"schemaVersion": 2, "mediaType": INDEX if children else IMAGE, "config": {"size": number}}
        manifest |= {"manifests": [{"digest": child} for child in children]} if children else {}
        manifest |= {"subject": {"digest": subject}} if subject else {}
        text = json.dumps(manifest)
        parameters = {"repositoryName": self.name, "imageManifest": text} | ({"imageTag": tag} if tag else {})
        try:
            digest = self.ecr._service.put_image(**parameters)["image"]["imageId"]["imageDigest"]
        except ClientError:  # what it names is not there, or it is there itself: then the fake is not asked
            return
        fake = self.ecr.aws.ecr
        if digest in fake.repositories[self.name]:
            fake.push_again(self.name, digest)
        else:
            fake.push(self.name, digest=digest, children=children, subject=subject, manifest=text, days=0, size=number)
        if tag:
            fake.tag(self.name, digest, tag)
        self.pushed.append(digest)

    def let_time_pass(self, seconds: float) -> None:
        """Makes what is stored in both so much older."""
        self.ecr.aws.let_time_pass(seconds)
        for image in ecr_backends[ACCOUNT_ID][REGION].repositories[self.name].images:
            for member in {"last_archived_at", "last_activated_at"} & vars(image).keys():
                setattr(image, member, getattr(image, member) - seconds)

    def ask(self, operation: str, seen: Callable[[Json], Any], **parameters: Any) -> Any:
        """Returns the answer of both about the repository."""
        return self.ecr.ask(operation, seen, repositoryName=self.name, **parameters)


def named(answer: Json) -> Any:
    """Returns the fate of each id, but for words; in which order the tags of one image go says nothing."""
    gone = sorted(tuple(sorted(image_id.items())) for image_id in answer.get("imageIds", []))
    images = [(image["imageId"], image["imageManifest"]) for image in answer.get("images", [])]
    return gone, images, [(failure["imageId"], failure["failureCode"]) for failure in answer["failures"]]


def described(answer: Json) -> Any:
    """Returns the description of each image, but for its repository, and for times only whether they are there."""
    members = {"imageDigest", "imageSizeInBytes", "imageManifestMediaType", "subjectManifestDigest", "imageStatus"}
    details = [
        {key: value for key, value in detail.items() if key in members}
        | {"tags": sorted(detail.get("imageTags", ()))}
        | dict.fromkeys(detail.keys() & {"lastArchivedAt", "lastActivatedAt"}, True)
        for detail in answer["imageDetails"]
    ]
    return sorted(details, key=lambda detail: detail["imageDigest"]), "nextToken" in answer


def referring(answer: Json) -> Any:
    """Returns the digests of what refers to an image."""
    return sorted(referrer["digest"] for referrer in answer["referrers"])


def updated(answer: Json) -> Any:
    """Returns the image whose storage class was changed, and its status."""
    return answer["repositoryName"], answer["imageId"], answer["imageStatus"]


CHOICES = st.fixed_dictionaries({
    "archived_image_failure": st.sampled_from(["ImageInaccessible", "ImageNotFound", None]),
    "children_can_be_archived": st.booleans(),
    "activation_seconds": st.sampled_from([0, 20 * 60]),
})  # fmt: skip
"""What is chosen where ECR's behaviour is not known."""
STATUSES = st.sampled_from(["ACTIVE", "ARCHIVED", "ACTIVATING", "ANY"])


@pytest.fixture(scope="session")
def ecr(embedded: EmbeddedAWS) -> Pair:
    """ECR's clients."""
    return pair(embedded, "ecr")


@given(data=st.data())
@settings(max_examples=settings().max_examples // 6)
def test_fake_ecr_answers_as_the_embedded_one(ecr: Pair, data: st.DataObject) -> None:
    """Whatever is pushed, tagged again, deleted, archived and looked up, by tag, by digest, by both, and by odd ids."""
    registry = Registry(ecr)
    for _ in range(data.draw(st.integers(1, 15))):
        data.draw(st.sampled_from([change, change, look]))(registry, data)
    registry.ask("describe_images", described, filter={"imageStatus": "ANY"})


@given(data=st.data(), choices=CHOICES)
@settings(max_examples=settings().max_examples // 6)
def test_fake_ecr_archives_as_the_embedded_one(ecr: Pair, data: st.DataObject, choices: Json) -> None:
    """An image, an index that names it and a signature of it, in any order, whatever is chosen of ECR's behaviour."""
    registry = Registry(ecr)
    registry.push(1, "v1", [], None)
    [image] = registry.pushed
    index: tuple[int, str, list[str], str | None] = (2, "v2", [image], None)
    signature: tuple[int, str, list[str], str | None] = (3, "v3", [], image)
    registry.push(*index)
    registry.push(*signature)
    ids = [{"imageDigest": digest} for digest in registry.pushed]
    with mock.patch.multiple(StorageChoices, **choices), mock.patch.multiple(ecr.aws.ecr, **choices):
        for _ in range(data.draw(st.integers(1, 8))):
            match data.draw(st.sampled_from(["ARCHIVE"] * 3 + ["STANDARD", "push"] * 2 + ["wait", "change"])):
                case "wait":
                    registry.let_time_pass(20 * 60)
                case "push":
                    registry.push(
                        *data.draw(st.sampled_from([(1, None, [], None), (1, "v2", [], None), index, signature]))
                    )
                case "change":
                    change(registry, data)
                case target:
                    one = data.draw(st.sampled_from(ids))
                    registry.ask("update_image_storage_class", updated, imageId=one, targetStorageClass=target)
            registry.ask("batch_get_image", named, imageIds=ids)
            registry.ask("describe_images", described, filter={"imageStatus": "ANY"})
            status = data.draw(STATUSES)
            registry.ask("describe_images", described, filter={"imageStatus": status})
            wanted = {"artifactStatus": status}
            registry.ask("list_image_referrers", referring, subjectId={"imageDigest": image}, filter=wanted)


def digests(registry: Registry) -> st.SearchStrategy[str]:
    """Of images that are there or were, and of none."""
    return st.sampled_from([*dict.fromkeys(registry.pushed), "sha256:" + "0" * 64])


def image_id(registry: Registry) -> st.SearchStrategy[Json]:
    """By tag, by digest, by both, and odd ones."""
    tags, odd = st.sampled_from([*TAGS, "none"]), st.sampled_from(["-", "sha256:short", "ü"])
    some = st.fixed_dictionaries({}, optional={"imageTag": tags, "imageDigest": digests(registry)})
    return some | some | some | st.fixed_dictionaries({}, optional={"imageTag": odd, "imageDigest": odd})


def change(registry: Registry, data: st.DataObject) -> None:
    """Pushes, deletes, archives or restores something, or lets a restoration be over."""
    any_digest, any_id = digests(registry), image_id(registry)
    match data.draw(st.sampled_from(["push"] * 4 + ["delete"] * 3 + ["storage class"] * 3 + ["wait"])):
        case "push":
            children = data.draw(st.lists(any_digest, max_size=2, unique=True) if registry.pushed else st.just([]))
            tag, subject = data.draw(st.sampled_from([None, *TAGS])), data.draw(st.none() | any_digest)
            registry.push(data.draw(st.integers(1, 4)), tag, children, subject)
        case "delete":
            registry.ask("batch_delete_image", named, imageIds=data.draw(st.lists(any_id, max_size=5)))
        case "storage class":
            one = data.draw(st.fixed_dictionaries({"imageDigest": any_digest}) | any_id)
            target = data.draw(st.sampled_from(["ARCHIVE", "STANDARD"]))
            registry.ask("update_image_storage_class", updated, imageId=one, targetStorageClass=target)
        case "wait":
            registry.let_time_pass(20 * 60)


def look(registry: Registry, data: st.DataObject) -> None:
    """Looks images up, or lists them."""
    ids = st.lists(image_id(registry), max_size=5)
    match data.draw(st.sampled_from(["look up", "get", "list", "referrers"])):
        case "look up":  # of any status, for the fake is stricter with the filter
            wanted = {"imageStatus": "ANY"}
            registry.ask("describe_images", described, imageIds=data.draw(ids), filter=wanted)
        case "get":
            registry.ask("batch_get_image", named, imageIds=data.draw(ids))
        case "list":
            tagged = st.sampled_from(["TAGGED", "UNTAGGED", "ANY"])
            wanted = data.draw(st.fixed_dictionaries({"tagStatus": tagged}, optional={"imageStatus": STATUSES}))
            registry.ask("describe_images", described, filter=wanted)
        case "referrers":
            subject = {"imageDigest": data.draw(digests(registry))}
            wanted = data.draw(st.fixed_dictionaries({}, optional={"artifactStatus": STATUSES}))
            registry.ask("list_image_referrers", referring, subjectId=subject, filter=wanted)


@pytest.mark.parametrize("operation", ["batch_delete_image", "batch_get_image", "describe_images"])
def test_fake_ecr_refuses_what_the_embedded_one_refuses(ecr: Pair, operation: str) -> None:
    """No ids, or more than a hundred; a bad member, which fails the whole call; a repository that is not there."""
    registry = Registry(ecr)
    registry.push(1, "v1", [], None)
    too_many, too_long = [{"imageTag": f"v{n}"} for n in range(101)], [{"imageTag": "v1"}, {"imageTag": "v" * 301}]
    for image_ids in ([], too_many, *([too_long] if operation != "describe_images" else [])):
        assert registry.ask(operation, named, imageIds=image_ids) == ("InvalidParameterException", {})
    refused = ecr.ask(operation, named, repositoryName="none", imageIds=[{"imageTag": "v1"}])
    assert refused == ("RepositoryNotFoundException", {})


def test_fake_ecr_refuses_to_archive_what_the_embedded_one_refuses(ecr: Pair) -> None:
    """A tag that is too long, a storage class that there is not, and an image of a repository that is not there."""
    registry = Registry(ecr)
    registry.push(1, "v1", [], None)
    for tag, target in (("v" * 301, "ARCHIVE"), ("", "ARCHIVE"), ("v1", "GLACIER")):
        call = {"imageId": {"imageTag": tag}, "targetStorageClass": target}
        refused = registry.ask("update_image_storage_class", updated, **call)
        assert refused == ("InvalidParameterException", {})
    call = {"repositoryName": "none", "imageId": {"imageTag": "v1"}, "targetStorageClass": "ARCHIVE"}
    assert ecr.ask("update_image_storage_class", updated, **call) == ("RepositoryNotFoundException", {})


def test_fake_ecr_lists_in_pages_as_the_embedded_one(ecr: Pair) -> None:
    """In the order of digests there, of pushes here; all of it once."""
    registry = Registry(ecr)
    for number in range(5):
        registry.push(number, None, [], None)
    for client in (ecr._service, ecr._fake):
        pages = client.get_paginator("describe_images").paginate(repositoryName=registry.name, maxResults=2)
        found = [[detail["imageDigest"] for detail in page["imageDetails"]] for page in pages]
        assert [len(page) for page in found] == [2, 2, 1]
        assert {digest for page in found for digest in page} == set(registry.pushed)


# DynamoDB.


@pytest.fixture(scope="session")
def dynamodb(embedded: EmbeddedAWS) -> Pair:
    """DynamoDB's clients."""
    return pair(embedded, "dynamodb")


def new_partition(dynamodb: Pair) -> str:
    """Returns the key of a partition with nothing in it, and makes its table, which other tests may have wiped."""
    if TABLE not in dynamodb._service.list_tables()["TableNames"]:
        attributes = {"id": "HASH", "step": "RANGE"}
        dynamodb._service.create_table(
            TableName=TABLE,
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in attributes.items()],
            BillingMode="PAY_PER_REQUEST",
        )
    return str(uuid4())


def key(partition: str, step: str) -> Json:
    """The key of an item."""
    return {"id": {"S": partition}, "step": {"S": step}}


def item(answer: Json) -> Any:
    """The item of an answer."""
    return answer.get("Item")


def check_partition(dynamodb: Pair, partition: str) -> None:
    """Both hold the same items, in the same order."""
    arguments: Json = {
        "TableName": TABLE,
        "KeyConditionExpression": "#id = :id",
        "ExpressionAttributeNames": {"#id": "id"},
        "ExpressionAttributeValues": {":id": {"S": partition}},
        "ConsistentRead": True,
    }
    found = [
        [stored for page in client.get_paginator("query").paginate(**arguments) for stored in page["Items"]]
        for client in (dynamodb._service, dynamodb._fake)
    ]
    assert found[0] == found[1]


UPDATES = [step_table._BEGIN, step_table._TAKE_OVER, step_table._FINISH, step_table._GIVE_UP, step_table._REMEMBER]
UPDATES.append(step_table._GIVE_UP + step_table._FORGET_BEGUN)
CONDITIONS = [step_table._NEW_CLAIM, step_table._NEW_STEP, step_table._AS_MET, "#owner = :owner"]
CONDITIONS += ["#owner = :owner AND #state = :begun", "#expiration < :expiration"]
STRINGS, NUMBERS = st.sampled_from(["begun", "withdrawn", "a", "b"]), st.integers(0, 3)
VALUES: Mapping[str, st.SearchStrategy[Json]] = {
    ":dry": st.booleans().map(lambda value: {"BOOL": value}),
    **{
        name: NUMBERS.map(lambda value: {"N": str(value)})
        for name in (":now", ":until", ":expiration", ":over", ":met_until")
    },
}


def update(data: st.DataObject, dynamodb: Pair, partition: str, expression: str, condition: str) -> None:
    """Asks both for one conditional update, with values that are drawn."""
    text = f"{expression} {condition}".replace("(", " ").replace(")", " ").replace(",", " ").split()
    names = {word: word[1:] for word in text if word.startswith("#")}
    strings = STRINGS.map(lambda value: {"S": value})
    values = {word: data.draw(VALUES.get(word, strings)) for word in sorted(text) if word.startswith(":")}
    dynamodb.ask(
        "update_item",
        item,
        TableName=TABLE,
        Key=key(partition, data.draw(st.sampled_from(["claim", "delete/0/0", "delete/0/1", "notice", "rejected"]))),
        UpdateExpression=expression,
        ConditionExpression=condition,
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=values,
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )


@given(data=st.data())
@settings(max_examples=settings().max_examples // 6)
def test_fake_dynamodb_writes_as_motos_does(dynamodb: Pair, data: st.DataObject) -> None:
    """With each update and each condition of the step table, whatever is there; and its partition is queried whole."""
    partition = new_partition(dynamodb)
    for _ in range(data.draw(st.integers(1, 12))):
        expression, condition = data.draw(st.sampled_from(UPDATES)), data.draw(st.sampled_from(CONDITIONS))
        update(data, dynamodb, partition, expression, condition)
    check_partition(dynamodb, partition)
    for step in ("claim", "none"):
        dynamodb.ask("get_item", item, TableName=TABLE, Key=key(partition, step), ConsistentRead=True)


ATTRIBUTES = {"#state": ":state", "#owner": ":owner", "#until": ":until"}
COMPARISONS = [f"{name} {operator} {value}" for name, value in ATTRIBUTES.items() for operator in ("=", "<>", "<")]
COMPARISONS += [
    f"{function}({name})" for name in ATTRIBUTES for function in ("attribute_exists", "attribute_not_exists")
]
RANDOM_CONDITIONS = st.recursive(
    st.sampled_from(COMPARISONS),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
    max_leaves=4,
)


@st.composite
def assignments(draw: st.DrawFn) -> str:
    """Some attributes are set, maybe only if they are not there, and others removed."""
    names = draw(st.lists(st.sampled_from(list(ATTRIBUTES)), min_size=1, unique=True))
    forms = st.sampled_from(["{1}", "if_not_exists({0}, {1})"])
    sources = {name: draw(forms).format(name, ATTRIBUTES[name]) for name in names}
    removed = [name for name in [*ATTRIBUTES, "#data"] if name not in names and draw(st.booleans())]
    text = "SET " + ", ".join(f"{name} = {source}" for name, source in sources.items())
    return text + (f" REMOVE {', '.join(removed)}" if removed else "")


@given(data=st.data())
@settings(max_examples=settings().max_examples // 6)
def test_fake_dynamodb_reads_expressions_as_motos_does(dynamodb: Pair, data: st.DataObject) -> None:
    """Of any depth, on items that have the attributes or lack them."""
    partition = new_partition(dynamodb)
    for _ in range(data.draw(st.integers(1, 10))):
        update(data, dynamodb, partition, data.draw(assignments()), data.draw(RANDOM_CONDITIONS))
    check_partition(dynamodb, partition)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, False),
        ({"ExpressionAttributeNames": {"#data": "data", "#other": "other"}}, True),
        ({"ExpressionAttributeValues": {":data": {"S": "x"}, ":other": {"S": "x"}}}, True),
        ({"ExpressionAttributeValues": {":data": {"S": "x" * 410_000}}}, True),
    ],
)
def test_fake_dynamodb_refuses_what_motos_refuses(dynamodb: Pair, changes: Json, refused: bool) -> None:  # noqa: FBT001
    """A name or a value that is not used, and an item that is too large."""
    partition = new_partition(dynamodb)
    call: Json = {
        "UpdateExpression": "SET #data = :data",
        "ExpressionAttributeNames": {"#data": "data"},
        "ExpressionAttributeValues": {":data": {"S": "x"}},
    }
    answer = dynamodb.ask("update_item", item, TableName=TABLE, Key=key(partition, "claim"), **call | changes)
    assert answer == (("ValidationException", {}) if refused else None)
