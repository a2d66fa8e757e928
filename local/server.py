"""moto over HTTP, in this process."""

import io
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from moto import backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

# moto lists its folder at each request, which is a tenth of the time that a small one takes.
_MODULES = frozenset(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: _MODULES

type Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

# ECR has a lock of its own; a consumer that waits for messages must not keep others from sending them.
_SIDE_BY_SIDE = ("AmazonEC2ContainerRegistry", "AmazonSQS.ReceiveMessage")


class Server:
    """Serves moto until `stop`. Port 0 means any free one; `port` says which.

    One call at a time, for moto's DynamoDB and SQS are not made for calls side by side: a conditional write would not
    be one, and messages could get lost.
    """

    def __init__(self, host: str, port: int) -> None:
        self.application: Application = _OneAtATime(DomainDispatcherApplication(create_backend_app))
        """Answers every call. It may be replaced while the server runs, such as by one that lets calls fail."""
        self._server = make_server(host, port, self._answer, threaded=True, request_handler=_Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="moto", daemon=True
        )
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.application(environ, start_response)

    def stop(self) -> None:
        """Returns when the port is free again."""
        self.application = _gone
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _gone(*_: object) -> Iterable[bytes]:
    """Closes a connection that is still open."""
    raise ConnectionAbortedError


class _OneAtATime:
    def __init__(self, application: Application) -> None:
        self._application = application
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith(_SIDE_BY_SIDE):
            return self._application(environ, start_response)
        with self._turn:
            return self._application(environ, start_response)


class _Handler(MotoRequestHandler):
    """Leaves connections open, as AWS does: to close each, as werkzeug does, takes a third of the time of a call."""

    disable_nagle_algorithm = True  # or each answer's body waits up to 40 ms for the acknowledgement of its headers
    timeout = 10
    """Seconds after which a connection is closed on which nothing comes."""

    def run_wsgi(self) -> None:
        """Answers one request. Raises ConnectionError, which ends the connection, where the application does."""
        environ = self.make_environ()
        if environ.get("wsgi.input_terminated"):  # in chunks, whose end only the application finds
            self.close_connection = True
        else:
            environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        started: list[tuple[str, list[tuple[str, str]]]] = []
        try:
            body = b"".join(self.server.app(environ, lambda status, headers, *_: started.append((status, headers))))
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the call has an answer
            self.log_error("%s", traceback.format_exc())
            started, body = [("500 Internal Server Error", [])], b""
        [(status, headers)] = started
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing: those who called say what they asked for."""

    def log_error(self, format: str, *args: object) -> None:  # noqa: A002  # its name in http.server
        """Logs what goes wrong, but not that a connection was idle."""
        if not any(isinstance(arg, TimeoutError) for arg in args):
            super().log_error(format, *args)
