"""A queue of the run's own, in which notices and result events arrive."""

import json
from collections.abc import Callable
from typing import Any

from .aws import Clients, ignoring, until
from .names import Run
from .stack import Stack

type Json = dict[str, Any]


class Inbox:
    """What has arrived in a queue; each message is taken off it and kept here."""

    def __init__(self, clients: Clients, run: Run, what: str, admitted: Json) -> None:
        """Makes the queue. `admitted` is the service and the ARN that may send to it."""
        self._sqs, self._long_poll = clients("sqs"), clients.long_poll
        self._url: str = self._sqs.create_queue(
            QueueName=run.name(what), Attributes={"SqsManagedSseEnabled": "true"}, tags=run.tags
        )["QueueUrl"]
        clients.made["queue"].add(self._url)
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        self.arn: str = attributes["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": admitted["service"]},
            "Action": "sqs:SendMessage",
            "Resource": self.arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": admitted["arn"]}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        self._arrived: list[Json] = []

    def arrived(self, matching: Callable[[Json], bool] = lambda _: True) -> list[Json]:
        """Returns all that has arrived so far and matches."""
        while messages := self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=self._long_poll
        ).get("Messages"):
            for message in messages:
                self._arrived.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [message for message in self._arrived if matching(message)]

    def wait_for(self, what: str, matching: Callable[[Json], bool], seconds: float) -> Json:
        """Returns the first message that matches, as soon as there is one."""
        return until(lambda: self.arrived(matching), what, seconds)[0]


def notices(clients: Clients, run: Run, stack: Stack) -> Inbox:
    """Subscribes a queue to the stack's topic."""
    topic = stack.outputs["NotificationTopicArn"]
    inbox = Inbox(clients, run, "notices", {"service": "sns.amazonaws.com", "arn": topic})
    clients("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=inbox.arn, Attributes={"RawMessageDelivery": "true"}
    )
    return inbox


def result_events(clients: Clients, run: Run, stack: Stack) -> Inbox:
    """Has a rule on the stack's bus of results put those of this run on a queue."""
    bus, name = stack.parameters["ResultEventBusName"], run.name("results")
    of_bus = "" if bus == "default" else f"{bus}/"
    arn = f"arn:{stack.partition}:events:{stack.region}:{stack.account}:rule/{of_bus}{name}"
    inbox = Inbox(clients, run, "results", {"service": "events.amazonaws.com", "arn": arn})
    pattern = {"source": [stack.name], "detail": {"data": {"requestId": [{"prefix": run.request_id("")}]}}}
    events = clients("events")
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern), Tags=run.tag_list)
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": inbox.arn}])
    return inbox


def unsubscribe(clients: Clients, subscription_arn: str) -> None:
    """Ends a subscription, if there still is one."""
    with ignoring("NotFound"):
        clients("sns").unsubscribe(SubscriptionArn=subscription_arn)
