"""The stack as seen from outside: images, messages, notices, log entries and metrics; never its code or its steps."""

import json
import sys
from collections.abc import Callable, Sequence
from time import time  # the harness's own: a test may replace time.sleep for the function
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.ecr.models import ecr_backends
from moto.sqs.models import sqs_backends

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS, Notice
from local.ecr_storage import status
from local.images import SIGNATURE, push_image, push_index, push_referrer
from local.poller import FakeLambdaContext, Handler, Poll, Poller, load_function
from tests.harness.instance import Instance, InstanceDiedError
from tests.harness.server_faults import Action, Answer, Call, FaultInjector, Perform

type Json = dict[str, Any]

REPOSITORY = "team/app"
DAY = 86_400
VISIBILITY_SECONDS, BULK_VISIBILITY_SECONDS = 720, 5_400
"""After which a message that failed is received again, from the request queue and from the bulk queue."""
ANY_SHARE = {"MAX_PERCENT_OF_REPOSITORY": "100"}
"""By which the stack lets a selection take all of its repository."""
PREVIEWS: Json = {"tagStatus": "tagged", "tagPatternList": ["pr-*"]}
"""A selection."""
SIGNATURE_SUFFIXES = ("", ".sig", ".att", ".sbom")
"""The endings of tags of signatures, attestations and SBOMs, behind the digest."""


class TimedOutError(Exception):
    """Lambda has ended the invocation."""


class Outside:
    """One deployment of the stack, with the faults that its calls meet."""

    def __init__(self, aws: EmbeddedAWS, faults: FaultInjector, capsys: pytest.CaptureFixture[str]) -> None:
        self.aws = aws
        self.faults = faults
        self._capsys = capsys
        self._output = ""
        self._pollers: list[Poller] = []
        self.create(REPOSITORY)

    # Instances of the function

    def start(self, **variables: str) -> Handler:
        """Starts an instance of the function, with variables as the template would set them from its parameters."""
        return load_function(self.aws.environment | variables)

    def start_process(self, **variables: str) -> Instance:
        """Prepares an instance in a process of its own, which can be killed."""
        return Instance(self.aws.environment | variables)

    # Images

    def create(self, *repositories: str) -> None:
        """Creates repositories."""
        for name in repositories:
            self.aws.client("ecr").create_repository(repositoryName=name)

    def push(  # keyword-only
        self,
        *tags: str,
        repository: str = REPOSITORY,
        days: float = 1,
        pulled: float | None = None,
        content: str | None = None,
    ) -> str:
        """Pushes an image with these tags, so many days ago; returns its digest."""
        digest = push_image(_Registry(), repository, tags=tags, content=content)
        self.aws.age(repository, digest, days=days, pulled=pulled)
        return digest

    def push_many(self, tags: Sequence[str]) -> list[str]:
        """Pushes an image for each tag."""
        return [self.push(tag) for tag in tags]

    def push_index(self, children: Sequence[str], *tags: str, repository: str = REPOSITORY, days: float = 1) -> str:
        """Pushes an index of manifests that are there; returns its digest."""
        digest = push_index(_Registry(), repository, children, tags=tags)
        self.aws.age(repository, digest, days=days)
        return digest

    def push_referrer(self, subject: str, *tags: str, days: float = 1) -> str:
        """Pushes a signature that names an image as its subject; returns its digest."""
        digest = push_referrer(_Registry(), REPOSITORY, subject, tags=tags)
        self.aws.age(REPOSITORY, digest, days=days)
        return digest

    def sign(self, subject: str, *tags: str, suffix: str = ".sig", days: float = 1) -> str:
        """Pushes a signature whose tag names the digest of an image, with further tags; returns its digest."""
        tags = (f"{subject.replace(':', '-')}{suffix}", *tags)
        digest = push_image(_Registry(), REPOSITORY, tags=tags, layer_type=SIGNATURE)
        self.aws.age(REPOSITORY, digest, days=days)
        return digest

    def tag(self, digest: str, tag: str) -> None:
        """Puts one more tag on an image."""
        [image] = [image for image in _images(REPOSITORY) if image.image_digest == digest]
        _backend().put_image(REPOSITORY, image.image_manifest, tag)

    def delete(self, *digests: str) -> None:
        """Deletes images as another user of the repository would."""
        self.aws.client("ecr").batch_delete_image(
            repositoryName=REPOSITORY, imageIds=[{"imageDigest": digest} for digest in digests]
        )

    def left(self, repository: str = REPOSITORY) -> set[str]:
        """Returns the digests that a repository still has."""
        return {image.image_digest for image in _images(repository)}

    def tags(self, repository: str = REPOSITORY) -> set[str]:
        """Returns the tags that it still has."""
        return {tag for image in _images(repository) for tag in image.image_tags}

    def statuses(self, repository: str = REPOSITORY) -> dict[str, str]:
        """Returns by digest whether an image is ACTIVE, ARCHIVED or ACTIVATING."""
        return {image.image_digest: status(image) for image in _images(repository)}

    def archived(self, repository: str = REPOSITORY) -> set[str]:
        """Returns the digests in the archive."""
        return {digest for digest, status in self.statuses(repository).items() if status == "ARCHIVED"}

    def change_storage_class(self, digest: str, target: str) -> None:
        """Archives or restores an image as another user of the repository would."""
        self.aws.client("ecr").update_image_storage_class(
            repositoryName=REPOSITORY, imageId={"imageDigest": digest}, targetStorageClass=target
        )

    # Requests

    def send(self, *image_ids: Json | str, **members: Any) -> str:
        """Puts a request about the repository on the queue; returns the messageId."""
        return self.send_body(request(*image_ids, **members))

    def send_body(self, body: Json) -> str:
        """Puts an object on the queue; returns the messageId."""
        return self.send_text(json.dumps(body))

    def send_text(self, body: str) -> str:
        """Puts anything on the queue; returns the messageId."""
        [message_id] = self.aws.send(body)
        return message_id

    def receive(self, function: Handler) -> Poll:
        """Delivers one batch of the visible messages to an instance."""
        self._pollers.append(Poller(self.aws, function))
        poll = self._pollers[-1].poll()
        assert poll, "no message is visible"
        if isinstance(poll.error, InstanceDiedError):
            self.faults.settle()
        return poll

    def duplicate(self, poll: Poll) -> Poll:
        """Delivers the last batch a second time, as a queue may do."""
        return self._pollers[-1].duplicate(poll)

    def redeliver(self) -> None:
        """Lets the visibility time-out of all messages that failed be over."""
        for poller in self._pollers:
            poller.redeliver()
        self._pollers.clear()

    def drain(self, function: Handler) -> list[Poll]:
        """Redelivers what failed, and delivers all messages to an instance until each is done or a dead letter."""
        self.redeliver()
        return Poller(self.aws, function).drain()

    def redrive(self) -> None:
        """Sends the dead letters back to the bulk queue, where everything works, and each is a new message."""
        sqs, queue = self.aws.client("sqs"), self.aws.outputs["DeadLetterQueueUrl"]
        for letter in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]:
            sqs.send_message(QueueUrl=self.aws.outputs["BulkQueueUrl"], MessageBody=letter["Body"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter["ReceiptHandle"])

    def waiting(self) -> list[str]:
        """Returns the bodies of the messages on the request queue, and then of those on the bulk queue."""
        return [*self.aws.messages("RequestQueue"), *self.waiting_in_bulk()]

    def waiting_in_bulk(self) -> list[str]:
        """Returns the bodies of the messages on the bulk queue."""
        return self.aws.messages("BulkQueue")

    def take(self, text: str) -> list[str]:
        """Takes the messages with this text off the bulk queue, for they are late; returns their bodies."""
        queue = sqs_backends[ACCOUNT_ID][REGION].get_queue(self.aws.resources["BulkQueue"].rpartition("/")[2])
        taken = [message for message in queue._messages if text in message.body]
        for message in taken:
            queue._messages.remove(message)
        return [message.body for message in taken]

    def send_bulk(self, *image_ids: Json | str, **members: Any) -> str:
        """Puts a request about the repository on the bulk queue, as the stack's own schedule does."""
        return self.send_to_bulk(request(*image_ids, **members))

    def send_to_bulk(self, body: Json | str) -> str:
        """Puts an object, or any text, on the bulk queue, as the stack's own schedule does; returns the messageId."""
        text = body if isinstance(body, str) else json.dumps(body)
        sent = self.aws.client("sqs").send_message(QueueUrl=self.aws.outputs["BulkQueueUrl"], MessageBody=text)
        message_id: str = sent["MessageId"]
        return message_id

    def dead_letters(self) -> list[str]:
        """Returns those in the dead-letter queue."""
        return self.aws.messages("DeadLetterQueue")

    # Reports

    def notices(self, kind: str | None = None) -> list[Notice]:
        """Returns the notices that were published, or those of one type."""
        return [notice for notice in self.aws.notices() if kind is None or notice.data["type"] == kind]

    def log(self, message: str | None = None) -> list[Json]:
        """Returns the log entries of the instances in this process, or those with one message."""
        return [entry for entry in self._written() if "_aws" not in entry and message in {None, entry["message"]}]

    def metrics(self) -> list[Json]:
        """Returns the metrics of each invocation in this process, in CloudWatch's embedded format."""
        return [entry for entry in self._written() if "_aws" in entry]

    def metric(self, name: str) -> float:
        """Returns the sum of a metric over all invocations in this process."""
        return sum(sum(entry[name]) for entry in self.metrics())

    def _written(self) -> list[Json]:
        self._output += self._capsys.readouterr().out
        return [json.loads(line) for line in self._output.splitlines() if line.startswith("{")]

    def listen(self, **pattern: Any) -> None:
        """Has the stack's result events, or what else this pattern matches, be received."""
        self.aws.listen(**pattern)

    def results(self) -> list[Json]:
        """Returns the events that were received, in order."""
        return self.aws.results()

    # Time

    def let_time_pass(self, seconds: float) -> None:
        """Makes all that is stored so much older: images, delayed messages, and every point in time in the table."""
        for queue in sqs_backends[ACCOUNT_ID][REGION].queues.values():
            for message in queue._messages:  # those that wait for their time
                message.delayed_until -= int(seconds * 1_000)
        for repository in ecr_backends[ACCOUNT_ID][REGION].repositories.values():
            for image in repository.images:
                for name in ("image_pushed_at", "last_recorded_pull_time", "last_archived_at", "last_activated_at"):
                    if getattr(image, name, None) is not None:
                        setattr(image, name, getattr(image, name) - int(seconds))
        for table in dynamodb_backends[ACCOUNT_ID][REGION].tables.values():
            for item in table.all_items():
                item.attrs.update({name: _older(value, seconds) for name, value in item.attrs.items()})

    def expire(self) -> None:
        """Removes from the table what has expired, as DynamoDB does some time later."""
        for table in dynamodb_backends[ACCOUNT_ID][REGION].tables.values():
            for item in list(table.all_items()):
                if "expiration" in item.attrs and float(item.attrs["expiration"].value) < time():
                    table.delete_item(item.hash_key, item.range_key)


def request(*image_ids: Json | str, **members: Any) -> Json:
    """Returns a request for these ids, if there are any; about the repository, unless it names several."""
    scope = {} if "repositoryNames" in members else {"repositoryName": REPOSITORY}
    return {**scope, **({"imageIds": list(image_ids)} if image_ids else {}), **members}


def ask(function: Handler, *image_ids: Json | str, **members: Any) -> Json:
    """Sends a request by hand, and returns the answer."""
    answer: Json = function(request(*image_ids, **members), FakeLambdaContext())
    return answer


def select(function: Handler, selection: Json, **members: Any) -> Json:
    """Sends a selection by hand, and returns the answer."""
    return ask(function, selection=selection, **members)


def by_tag(tags: Sequence[str]) -> list[Json | str]:
    """Returns image ids."""
    return [f"imageTag={tag}" for tag in tags]


def by_digest(*digests: str) -> list[Json | str]:
    """Returns image ids."""
    return [{"imageDigest": digest} for digest in digests]


def codes(report: Json) -> list[str]:
    """Returns the failure codes of an answer or a notice, in order."""
    return [failure["failureCode"] for failure in report["failures"]]


class Clock:
    """Time that passes only where a test says so, so that a busy machine makes no difference."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> float:
        """Returns the time, in place of time.monotonic()."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Lets so much time pass."""
        self._seconds += seconds

    def takes(self, seconds: float) -> Action:
        """Returns the fault by which a call takes so long."""

        def act(call: Call, perform: Perform) -> Answer:
            self._seconds += seconds
            return perform(call.body)

        return act

    def limit(self, function: Handler, seconds: float) -> Handler:
        """Gives an instance so many seconds for each invocation, and raises TimedOutError where one takes longer.

        The invocation is not ended, as Lambda would end it, but its answer is lost in the same way.
        """

        def invoke(event: Any, context: FakeLambdaContext) -> Any:
            end = self._seconds + seconds
            clock = SimpleNamespace(monotonic=self.now, sleep=self.sleep)
            with mock.patch.object(sys.modules["handler.concurrency"], "time", clock):
                answer = hurried(function, lambda: end - self._seconds)(event, context)
            if self._seconds > end:
                raise TimedOutError(f"the invocation took {self._seconds - end:.1f} s too long")
            return answer

        return invoke


def hurried(function: Handler, seconds_left: Callable[[], float]) -> Handler:
    """Gives an instance contexts in which so much time is left."""

    class Context(FakeLambdaContext):
        def get_remaining_time_in_millis(self) -> int:
            return max(0, int(seconds_left() * 1_000))

    return lambda event, context: function(event, Context(aws_request_id=context.aws_request_id))


class _Registry:
    """Pushes images without a call over HTTP; what local.images needs of a client."""

    def put_image(self, *, repositoryName: str, imageManifest: str, imageTag: str | None = None) -> Json:  # noqa: N803
        image = _backend().put_image(repositoryName, imageManifest, imageTag)
        return {"image": {"imageId": {"imageDigest": image.image_digest}}}

    def batch_get_image(self, *, repositoryName: str, imageIds: list[Json]) -> Json:  # noqa: N803
        answer: Json = _backend().batch_get_image(repositoryName, image_ids=imageIds)
        return answer


def _backend() -> Any:
    return ecr_backends[ACCOUNT_ID][REGION]


def _images(repository: str) -> list[Any]:
    images: list[Any] = _backend().repositories[repository].images
    return images


def _older(value: Any, seconds: float) -> Any:
    """A value of the table, made older where it is a point in time, in seconds or milliseconds since the epoch."""
    if value.type == "M":
        return DynamoType({"M": {name: _older(inner, seconds).to_json() for name, inner in value.value.items()}})
    if value.type != "N":
        return value
    number = float(value.value)
    per_second = next((factor for factor in (1, 1_000) if 1e9 < number / factor < 4e9), None)
    if per_second is None:
        return value
    shifted = number - seconds * per_second
    return DynamoType({"N": str(int(shifted) if number.is_integer() else shifted)})
