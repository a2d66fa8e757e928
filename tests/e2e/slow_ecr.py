"""A loopback proxy before the embedded AWS, behind which chosen images take longer to delete than a function lives."""

import http.client
import json
import threading
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

GIVES_UP_SECONDS = 60  # a held call ends then in any case


class SlowECR(ThreadingHTTPServer):
    """Passes everything on, except for deletions of the tags in `held`, which get no answer until `release`.

    `asked` holds the tags of each `BatchDeleteImage` call that was passed on, in the order of arrival.
    """

    daemon_threads = True

    def __init__(self, endpoint_url: str, *, held: Collection[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(endpoint_url).netloc
        self.endpoint_url = f"http://127.0.0.1:{self.server_port}"
        self.held = frozenset(held)
        self.holding = threading.Event()
        self.released = threading.Event()
        self.asked: list[list[str]] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.shutdown()
        self.server_close()

    def release(self) -> None:
        """From now on nothing is held. What was held is dropped: the connection closes without an answer."""
        self.held = frozenset()
        self.released.set()


class _Handler(BaseHTTPRequestHandler):
    server: SlowECR
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("X-Amz-Target", "").endswith(".BatchDeleteImage"):
            tags = [image_id.get("imageTag", "") for image_id in json.loads(body)["imageIds"]]
            if self.server.held.intersection(tags):
                self.server.holding.set()
                self.server.released.wait(GIVES_UP_SECONDS)
                self.close_connection = True
                return
            self.server.asked.append(tags)
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=GIVES_UP_SECONDS)
        try:
            upstream.request("POST", self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is BaseHTTPRequestHandler's
        """Nothing: the tests say what went wrong."""
