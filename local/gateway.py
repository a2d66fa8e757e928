"""The application before the services of `make serve`: Lambda's Invoke, and an error for calls that are not served.

moto would run the function in Docker. And what it does not serve it answers with a traceback, which only looks as if
something were broken.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from html import escape
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from .aws import Function
from .runtime import FakeLambdaContext, Handler
from .server import Application

type Report = Callable[[str, Exception | None], None]

_INVOCATIONS = re.compile(r"/\d{4}-\d\d-\d\d/functions/([^/]+)/invocations/?")


def one_at_a_time(function: Handler) -> Handler:
    """Returns a function that waits for itself: an instance on Lambda has one invocation at a time."""
    turn = threading.Lock()

    def invoke(event: Any, context: Any) -> Any:
        with turn:
            return function(event, context)

    return invoke


class Gateway:
    """A WSGI application: invokes the functions, and leaves everything else to the services behind it."""

    def __init__(self, services: Application, functions: Iterable[Function], handler: Handler, report: Report) -> None:
        """`handler` is that of all of them; `report` gets the request id of each invocation, and its error."""
        self._services = services
        self._functions = {function.name: function for function in functions}
        self._handler = handler
        self._report = report

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and (path := _INVOCATIONS.fullmatch(environ["PATH_INFO"])):
            status, headers, body = self._invoke(path[1], environ)
        else:
            try:
                return self._services(environ, start_response)
            except Exception:  # noqa: BLE001  # whatever moto raises, the caller gets an answer
                status, headers, body = _not_served(environ)
        headers = {"x-amzn-RequestId": str(uuid4()), "Content-Length": str(len(body)), **headers}
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [body]

    def _invoke(self, name: str, environ: dict[str, Any]) -> tuple[HTTPStatus, dict[str, str], bytes]:
        function = next((self._functions[part] for part in name.split(":") if part in self._functions), None)
        if function is None:
            return _error(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", f"Function not found: {name}")
        try:
            event = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        except ValueError as error:
            reason = f"Could not parse request body into json: {error}"
            return _error(HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", reason)
        context = FakeLambdaContext(
            function_name=function.name,
            invoked_function_arn=function.arn,
            memory_limit_in_mb=function.memory,
            timeout=function.timeout,
        )
        headers = {"x-amzn-RequestId": context.aws_request_id, "X-Amz-Executed-Version": context.function_version}
        match environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse"):
            case "DryRun":
                return HTTPStatus.NO_CONTENT, headers, b""
            case "Event":
                threading.Thread(target=self._run, args=[event, context], daemon=True).start()
                return HTTPStatus.ACCEPTED, headers, b""
        answer, raised = self._run(event, context)
        if raised:
            headers["X-Amz-Function-Error"] = "Unhandled"
            answer = {"errorMessage": str(raised), "errorType": type(raised).__name__, "stackTrace": []}
        return HTTPStatus.OK, headers | {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _run(self, event: Any, context: FakeLambdaContext) -> tuple[Any, Exception | None]:
        try:
            answer, error = self._handler(event, context), None
        except Exception as raised:  # noqa: BLE001  # whatever it is, the caller gets it
            answer, error = None, raised
        self._report(context.aws_request_id, error)
        return answer, error


def _not_served(environ: dict[str, Any]) -> tuple[HTTPStatus, dict[str, str], bytes]:
    """Returns the error for a call that no service here knows."""
    action = environ.get("HTTP_X_AMZ_TARGET") or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    code, reason = "NotImplemented", f"The embedded AWS does not serve this call: {action}"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(reason)}</Message></Error></ErrorResponse>"
        return HTTPStatus.NOT_IMPLEMENTED, {"Content-Type": "text/xml"}, body.encode()
    return _error(HTTPStatus.NOT_IMPLEMENTED, code, reason)


def _error(status: HTTPStatus, code: str, reason: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
    body = json.dumps({"__type": code, "Type": "User", "message": reason})
    return status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, body.encode()
