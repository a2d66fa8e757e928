"""Roles that a run makes: tagged, under a path of their own, with one policy each."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from .aws import Clients, until
from .names import ROLE_PATH, Run

type Json = dict[str, Any]

_SECONDS = 60
"""IAM takes some seconds until other services know a new role."""
_NOT_YET = ("assume", "execution role", "does not have permission")
"""Words by which services say that they do not know a role yet, or what it may do."""


def create(clients: Clients, run: Run, what: str, service: str, statements: Sequence[Json]) -> str:
    """Creates a role that a service may assume; returns its ARN."""
    iam, name = clients("iam"), run.name(what)
    clients.made["role"].add(name)
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, Path=ROLE_PATH, AssumeRolePolicyDocument=_policy([trust]), Tags=run.tag_list)[
        "Role"
    ]
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="acceptance", PolicyDocument=_policy(statements))
    return str(role["Arn"])


def once_known[T](call: Callable[[], T], seconds: float = _SECONDS) -> T:
    """Makes a call that names a new role, again while the service does not know that role yet."""

    def attempt() -> list[T]:
        try:
            return [call()]
        except ClientError as error:
            if not any(words in str(error) for words in _NOT_YET):
                raise
            return []

    return until(attempt, "role that the service knows", seconds)[0]


def _policy(statements: Sequence[Json]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
