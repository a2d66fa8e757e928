"""Fault injection at the server's side of the embedded AWS: by operation and number, calls fail, hang or get lost."""

import io
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic, sleep  # the server's own: a test may replace time.sleep for the function
from typing import Any, NamedTuple

from local.aws import USER_AGENT, EmbeddedAWS
from local.server import Application

type Json = dict[str, Any]
type Perform = Callable[[Json], "Answer"]
"""Does the work of a call with this body, and returns the answer of the service."""
type Action = Callable[["Call", Perform], "Answer"]
"""Decides about a call; raises DroppedConnectionError where no answer is sent."""

WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"})
"""Operations of DynamoDB that change something."""
SENDS = frozenset({"SendMessage", "SendMessageBatch"})
"""Operations of SQS that put something on a queue."""
ECR = "AmazonEC2ContainerRegistry_V20150921"
"""The service of a call to ECR."""

_HOLD_SECONDS = 60
"""After which a call that is held ends in any case."""
_PAUSE_SECONDS, _MOST_PAUSES = 0.1, 50
"""Within a pause, what a killed function has sent is read by the server; waiting for that ends in any case."""


class DroppedConnectionError(Exception):
    """The connection is closed without an answer."""


class Answer(NamedTuple):
    """An HTTP response."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, parsed."""
        parsed: Json = json.loads(self.body)
        return parsed

    def with_body(self, body: bytes) -> "Answer":
        """The same with another body."""
        headers = [(name, value) for name, value in self.headers if name.lower() != "content-length"]
        return Answer(self.status, [*headers, ("Content-Length", str(len(body)))], body)

    def with_json(self, value: Json) -> "Answer":
        """The same with this JSON as its body."""
        return self.with_body(json.dumps(value).encode())


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the function that arrived at the server."""

    service: str
    """As the X-Amz-Target header names it; empty for services that speak in forms, such as SNS."""
    operation: str
    body: Json
    at: float
    """Seconds of the monotonic clock."""

    @property
    def names(self) -> set[str]:
        """The tags and digests that it asks ECR for."""
        image_ids = [*self.body.get("imageIds", []), *([self.body["subjectId"]] if "subjectId" in self.body else [])]
        return {str(value) for image_id in image_ids for value in image_id.values()}


@dataclass
class Rule:
    """Which calls meet an action."""

    operations: Collection[str]
    action: Action
    nth: Collection[int] | None
    """Which of the calls that match, counted from 1; all of them if None."""
    about: str | None
    """Only calls that ask for this tag or digest."""
    when: Callable[[], bool]
    """Only calls that arrive while this is so."""
    lifted: bool = False
    strikes: int = 0
    """The number of calls that have met the action."""
    _matched: int = field(default=0, init=False)

    def lift(self) -> None:
        """From now on no call meets the action."""
        self.lifted = True

    def matches(self, call: Call) -> bool:
        """Counts a call, and returns whether it meets the action; to be asked once for each call."""
        if self.lifted or call.operation not in self.operations or not self.when():
            return False
        if self.about is not None and self.about not in call.names:
            return False
        self._matched += 1
        if self.nth is not None and self._matched not in self.nth:
            return False
        self.strikes += 1
        return True


class FaultInjector:
    """Stands before the services of an embedded AWS: records the calls of the function, and lets some of them fail.

    Calls of the embedded AWS's own clients pass unseen.
    """

    def __init__(self, application: Application) -> None:
        self.calls: list[Call] = []
        """All that arrived, in order."""
        self._application = application
        self._rules: list[Rule] = []
        self._under_way = 0
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def before(cls, aws: EmbeddedAWS) -> Iterator["FaultInjector"]:
        """Puts an injector before the services of `aws`, while the context lasts."""
        injectors: list[FaultInjector] = []

        def wrap(application: Application) -> Application:
            injectors.append(cls(application))
            return injectors[0]

        with aws.behind(wrap):
            yield injectors[0]

    def add(
        self,
        operations: str | Collection[str],
        action: Action,
        *,
        nth: int | Collection[int] | None = None,
        about: str | None = None,
        when: Callable[[], bool] = lambda: True,
    ) -> Rule:
        """Lets calls of these operations meet an action.

        Where several rules match, the one added first decides, and the others do not count the call.
        """
        rule = Rule(
            {operations} if isinstance(operations, str) else operations,
            action,
            {nth} if isinstance(nth, int) else nth,
            about,
            when,
        )
        self._rules.append(rule)
        return rule

    def lift(self) -> None:
        """Lifts every rule."""
        for rule in self._rules:
            rule.lift()

    def settle(self) -> None:
        """Returns once the calls are over that a function had sent which was killed, and none has come for a moment."""
        before = -1
        for _ in range(_MOST_PAUSES):
            if not self._under_way and before == len(self.calls):
                return
            before = len(self.calls)
            sleep(_PAUSE_SECONDS)

    def count(self, operation: str) -> int:
        """Returns the number of calls of an operation that have arrived."""
        return len(self.of(operation))

    def of(self, operation: str) -> list[Call]:
        """Returns the calls of an operation, in order."""
        return [call for call in self.calls if call.operation == operation]

    @property
    def ecr_calls(self) -> list[str]:
        """The operations of ECR that were called, in order."""
        return [call.operation for call in self.calls if call.service == ECR]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers a call, as WSGI has it."""
        if USER_AGENT in environ.get("HTTP_USER_AGENT", ""):
            return self._application(environ, start_response)
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        call = _call(environ, content)

        def perform(body: Json) -> Answer:
            changed = content if body == call.body else json.dumps(body).encode()
            return self._perform({
                **environ,
                "wsgi.input": io.BytesIO(changed),
                "CONTENT_LENGTH": str(len(changed)),
            })  # fmt: skip

        with self._lock:
            self.calls.append(call)
            self._under_way += 1
            action = next((rule.action for rule in self._rules if rule.matches(call)), None)
        try:
            answer = action(call, perform) if action else perform(call.body)
        except DroppedConnectionError:
            with suppress(OSError):  # who called may have gone before
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError from None  # the server handles it as a client that has gone
        finally:
            with self._lock:
                self._under_way -= 1
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _perform(self, environ: dict[str, Any]) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._application(environ, lambda status, headers, *_: started.append((status, headers))))
        return Answer(*started[0], body)


def _call(environ: dict[str, Any], content: bytes) -> Call:
    service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
    if operation:
        return Call(service, operation, json.loads(content), monotonic())
    form = dict(urllib.parse.parse_qsl(content.decode()))
    return Call("", form.get("Action", ""), form, monotonic())


def _answer(call: Call, status: str, body: str) -> Answer:
    content_type = "application/x-amz-json-1.1" if call.service else "text/xml"
    return Answer(status, [("Content-Type", content_type)], b"").with_body(body.encode())


def _error(call: Call, status: str, code: str) -> Answer:
    """An error as the service of a call words it."""
    if call.service:
        return _answer(call, status, json.dumps({"__type": code, "message": "a fault of the test"}))
    error = f"<Error><Code>{code}</Code><Message>a fault of the test</Message></Error>"
    return _answer(call, status, f"<ErrorResponse>{error}</ErrorResponse>")


def throttle(call: Call, _: Perform) -> Answer:
    """Refuses the call for now; nothing is done."""
    return _error(call, "400 Bad Request", "ThrottlingException")


def server_error(call: Call, _: Perform) -> Answer:
    """Fails with a 5xx; nothing is done."""
    return _error(call, "500 Internal Server Error", "ServerException")


def unavailable(call: Call, _: Perform) -> Answer:
    """Deletes nothing, for ECR's upstream is unavailable."""
    reason = {"failureCode": "UpstreamUnavailable", "failureReason": "a fault of the test"}
    failures = [{"imageId": image_id, **reason} for image_id in call.body["imageIds"]]
    return Answer("200 OK", [("Content-Type", "application/x-amz-json-1.1")], b"").with_json(
        {"imageIds": [], "failures": failures}
    )


def deny(call: Call, _: Perform) -> Answer:
    """Refuses the call for good; nothing is done."""
    return _error(call, "400 Bad Request", "AccessDeniedException")


def refuse_with(code: str) -> Action:
    """Refuses the call for good, under a code of the service."""
    return lambda call, _: _error(call, "400 Bad Request", code)


def drop_before(_: Call, __: Perform) -> Answer:
    """Closes the connection before the work."""
    raise DroppedConnectionError


def drop_after(call: Call, perform: Perform) -> Answer:
    """Does the work, and closes the connection without an answer."""
    perform(call.body)
    raise DroppedConnectionError


def truncate(call: Call, perform: Perform) -> Answer:
    """Does the work, and cuts the JSON of the answer in the middle."""
    answer = perform(call.body)
    return answer.with_body(answer.body[: len(answer.body) // 2])


def empty(call: Call, perform: Perform) -> Answer:
    """Does the work, and answers with an object without members."""
    return perform(call.body).with_body(b"{}")


def nothing(call: Call, _: Perform) -> Answer:
    """Does nothing, and answers with an object without members."""
    return _answer(call, "200 OK", "{}")


def drop_answer_about(name: str) -> Action:
    """Loses the answer that has a tag or a digest among the deleted; every other answer arrives."""

    def act(call: Call, perform: Perform) -> Answer:
        answer = perform(call.body)
        if any(name in image_id.values() for image_id in answer.json.get("imageIds", [])):
            raise DroppedConnectionError
        return answer

    return act


def do_after(callback: Callable[[], object]) -> Action:
    """Does the work, and calls back before the answer is sent."""

    def act(call: Call, perform: Perform) -> Answer:
        answer = perform(call.body)
        callback()
        return answer

    return act


def drop_while(callback: Callable[[], object], *, done: bool) -> Action:
    """Calls back, such as to kill the function, and sends no answer; the work is done before that, or never."""

    def act(call: Call, perform: Perform) -> Answer:
        if done:
            perform(call.body)
        callback()
        raise DroppedConnectionError

    return act


def hold(released: threading.Event) -> Action:
    """Does nothing and sends no answer, until an event is set; the connection is closed then."""

    def act(_: Call, __: Perform) -> Answer:
        released.wait(_HOLD_SECONDS)
        raise DroppedConnectionError

    return act


def delay(seconds: float) -> Action:
    """Answers so much later."""

    def act(call: Call, perform: Perform) -> Answer:
        sleep(seconds)
        return perform(call.body)

    return act


def ignore(image_id: Json) -> Action:
    """Does nothing about one image id, and leaves it out of the answer."""

    def act(call: Call, perform: Perform) -> Answer:
        left = [other for other in call.body["imageIds"] if other != image_id]
        if left:
            return perform({**call.body, "imageIds": left})
        done = "imageIds" if call.operation == "BatchDeleteImage" else "images"
        return _answer(call, "200 OK", json.dumps({done: [], "failures": []}))

    return act


def edit_answer(change: Callable[[Json], Json]) -> Action:
    """Does the work, and changes the answer."""

    def act(call: Call, perform: Perform) -> Answer:
        answer = perform(call.body)
        return answer.with_json(change(answer.json))

    return act
