"""The errors that fake services answer with."""

from typing import Any


class ServiceError(Exception):
    """An error of a service: its HTTP status, its code, and further members of the response."""

    def __init__(self, status: int, code: str, message: str = "", **members: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": code, "message": message or code, **members}
