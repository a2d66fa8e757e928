"""IAM's verdict on a request, as far as the policies of this stack go: principals, wildcards, and a few operators."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

type Statement = Mapping[str, Any]
type Context = Mapping[str, str]
type Verdict = Literal["allowed", "denied", "not mentioned"]


def verdict(
    statements: Iterable[Statement], *, action: str, resource: str, context: Context, principal: str = "AWS"
) -> Verdict:
    """Returns the verdict of statements on an action: a Deny outweighs every Allow.

    `principal` is the service that asks, or AWS for users and roles; `context` has IAM's condition keys, such as
    aws:SourceArn. A policy of a role names no principals, and applies to every session of the role.
    """
    effects = {s["Effect"] for s in statements if _speaks_of(s, action, resource, context, principal)}
    if "Deny" in effects:
        return "denied"
    return "allowed" if "Allow" in effects else "not mentioned"


def _speaks_of(statement: Statement, action: str, resource: str, context: Context, principal: str) -> bool:
    return (
        _names(statement.get("Principal", "*"), principal)
        and any(_like(action.lower(), pattern.lower()) for pattern in as_list(statement["Action"]))
        and any(_like(resource, pattern) for pattern in as_list(statement["Resource"]))
        and all(
            _OPERATORS[operator](context.get(key), as_list(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _names(principals: Any, principal: str) -> bool:
    everybody = principals == "*" or (principal == "AWS" and "*" in as_list(principals.get("AWS", [])))
    return bool(everybody or principal in as_list(principals.get("Service", [])))


def _like(text: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def _one_of(value: str | None, patterns: list[str]) -> bool:
    return value is not None and any(_like(value, pattern) for pattern in patterns)


def _none_of(value: str | None, patterns: list[str]) -> bool:
    # As in IAM: what is not there equals nothing, so that a Deny by exclusion meets requests without the key too.
    return not _one_of(value, patterns)


_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "ArnEquals": _one_of,
    "ArnLike": _one_of,
    "ArnNotEquals": _none_of,
    "ArnNotLike": _none_of,
    "StringEquals": _one_of,
    "StringNotEquals": _none_of,
    "Bool": _one_of,
}


def as_list(value: Any) -> list[Any]:
    """IAM takes one or a list of them nearly everywhere."""
    return value if isinstance(value, list) else [value]
