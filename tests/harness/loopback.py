"""The AWS in memory on a loopback port, for an instance that runs in a process of its own."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from botocore.exceptions import BotoCoreError

from tests.fakes.aws import FakeAWS


class Loopback(ThreadingHTTPServer):
    """Serves an AWS; a fault that loses a connection closes it. Use it as a context manager."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, aws: FakeAWS) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.aws = aws
        self.endpoint_url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Ignores what a killed instance leaves behind: broken connections."""


class _Handler(BaseHTTPRequestHandler):
    server: Loopback
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        target = self.headers.get("X-Amz-Target", "SNS.Publish")
        service = {"AmazonE": "ecr", "DynamoD": "dynamodb", "SNS.Pub": "sns", "AmazonS": "sqs"}[target[:7]]
        try:
            answer = self.server.aws.answer(service, target.rpartition(".")[2], body, self.path)
        except BotoCoreError:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        content = answer.content
        self.send_response(answer.status_code)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Logs nothing: what was asked is counted."""
