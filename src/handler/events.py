"""What arrived, an SQS record, an EventBridge envelope or a raw request, becomes a DeletionRequest."""

import hashlib
import itertools
import json
import re
import string
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .models import DeletionRequest, ImageId, Json, Origin, RejectedRequestError, Selection

try:  # the package has it as Python: to compile it takes 6 % of a cold start, to import the compiler 1 %
    from .contract import JsonSchemaValueException  # type: ignore[import-not-found]
    from .contract import validate as _validate
except ModuleNotFoundError:
    from fastjsonschema import JsonSchemaValueException
    from fastjsonschema import compile as compiled

    _validate = compiled(json.loads(Path(__file__).with_name("deletion_request.schema.json").read_text()))

_SINCE = ("sinceImagePushed", "sinceImagePulled")
_SHORTHAND_MEMBER = re.compile(r"""(imageTag|imageDigest)=("[^"]*"|'[^']*'|[^,"']*)""")

# What a sender wrote stands in messages, logs and notices: long enough to recognise it, never a megabyte of it.
_QUOTED_CHARACTERS = 500
_KEY_CHARACTERS = 256


def sqs_records(event: Any) -> list[Json] | None:
    """The records of an SQS batch; None when the event is none."""
    records = event.get("Records") if isinstance(event, dict) else None
    if isinstance(records, list) and all(
        isinstance(record, dict) and record.get("eventSource") == "aws:sqs" and isinstance(record.get("messageId"), str)
        for record in records
    ):
        return records
    return None


def record_origin(record: Mapping[str, Any]) -> Origin:
    """Where an SQS record comes from."""
    return Origin("message", record["messageId"], str(record.get("eventSourceARN")))


def unwrap(payload: Any, received: Origin) -> tuple[Any, Origin]:
    """The request in what carried it, and where it really comes from: its key when it brings none of its own.

    An EventBridge envelope holds it as its detail. A failed invocation holds it as the requestPayload of the record
    that Lambda sends to a failure destination; sent back to the queue, it keeps its key, so no step is done again.
    """
    match payload:
        case {
            "requestContext": {"requestId": str(request_id), "functionArn": str(source)},
            "requestPayload": inner,
        } if _may_be_key(request_id):
            payload, received = inner, Origin("invocation", request_id, _quoted(source))
    match payload:
        case {"detail-type": _, "detail": detail, "id": str(event_id)} if _may_be_key(event_id):
            return detail, Origin("event", event_id, _quoted(str(payload.get("source"))))
    return payload, received


def load_body(record: Mapping[str, Any]) -> Any:
    """The JSON in an SQS record's body; raises RejectedRequestError when it holds none."""
    try:
        return json.loads(record["body"], object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise RejectedRequestError(f"the message body is not JSON: {error}") from error
    except RecursionError as error:
        raise RejectedRequestError("the message body is nested too deeply; a request has two levels") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedRequestError("the message body is not JSON that can be read") from error


def parse_request(
    payload: Any, origin: Origin, registry_ids: Collection[str], *, max_images: int, dry_run: bool
) -> DeletionRequest:
    """The request that came from `origin`, for one of the registries; the first is meant where it names none.

    With `dry_run` it is one whatever it says. Raises RejectedRequestError naming the path and what was expected.
    """
    if isinstance(payload, dict):
        for one, other in (("repositoryName", "repositoryNames"), ("imageIds", "selection")):
            if (one in payload) == (other in payload):
                raise RejectedRequestError(f"request must contain exactly one of {one} and {other}")
    try:
        _validate(payload, name_prefix="request")
    except JsonSchemaValueException as error:
        raise RejectedRequestError(_quoted(error.message)) from error
    if payload.get("registryId", next(iter(registry_ids))) not in registry_ids:
        raise RejectedRequestError(
            f"request.registryId must be one of {', '.join(registry_ids)}; the stack's ForeignRegistryIds allows others"
        )
    named = [
        _shorthand(value) if isinstance(value, str) else ImageId.from_json(value)
        for value in payload.get("imageIds", [])
    ]
    image_ids = tuple(dict.fromkeys(named))
    if len(image_ids) > max_images:
        raise RejectedRequestError(
            f"request.imageIds must name at most {max_images:,} images, not {len(image_ids):,}; send several requests, "
            "or set the stack's MaxImagesPerRequest"
        )
    _check_switches(payload)
    dry_run = dry_run or payload.get("dryRun", False)
    # Everything that was asked, under one hash: the order too, for it decides which ids share a chunk. Digests and tags
    # stand in turn, for thousands of small lists would take three times as long.
    content = {**payload, "imageIds": list(itertools.chain.from_iterable(image_ids)), "dryRun": dry_run}
    try:
        content_hash = hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise RejectedRequestError("request holds half a surrogate pair, which is no character; send UTF-8") from error
    return DeletionRequest(
        request_id=payload.get("requestId", origin.id),
        repository_name=payload.get("repositoryName", ""),
        image_ids=image_ids,
        origin=origin,
        content_hash=content_hash,
        registry_id=payload.get("registryId"),
        reason=payload.get("reason"),
        dry_run=dry_run,
        notify=bool(payload.get("notify", False)),
        untag=payload.get("untag", False),
        cascade=payload.get("cascade"),
        selection=_selection(payload["selection"]) if "selection" in payload else None,
        allow_percent=payload.get("allowPercent"),
        repository_names=tuple(dict.fromkeys(payload.get("repositoryNames", []))),
        payload=payload,
    )


def _check_switches(payload: Json) -> None:
    """Refuses what cannot be meant together."""
    if payload.get("untag") and payload.get("cascade"):
        raise RejectedRequestError("request.untag keeps every image, so request.cascade cannot be true beside it")
    for key in ("untag", "cascade"):
        if key in payload and "selection" in payload:
            raise RejectedRequestError(f"request.{key} is for imageIds; a selection takes images as wholes")
    if "allowPercent" in payload and "selection" not in payload:
        raise RejectedRequestError("request.allowPercent is for a selection; imageIds take what they name")


def _selection(value: Json) -> Selection:
    """What a selection means; refuses one that means everything by omission, or nothing at all."""
    tag_status, count_type = value["tagStatus"], value.get("countType")
    patterns = (*value.get("tagPatternList", []), *(f"{prefix}*" for prefix in value.get("tagPrefixList", [])))
    if "tagPatternList" in value and "tagPrefixList" in value:
        raise RejectedRequestError("request.selection must not contain both tagPatternList and tagPrefixList")
    if tag_status == "tagged" and not patterns:
        raise RejectedRequestError(
            'request.selection with tagStatus "tagged" must contain tagPatternList or tagPrefixList; '
            'for every tag, say "tagPatternList": ["*"]'
        )
    if tag_status != "tagged" and patterns:
        raise RejectedRequestError(
            f'request.selection with tagStatus "{tag_status}" must not contain tag patterns; say "tagged"'
        )
    if tag_status != "tagged" and count_type is None and "keepMostRecent" not in value:
        raise RejectedRequestError(
            f'request.selection with tagStatus "{tag_status}" must contain countType or keepMostRecent; '
            "without, it would take all"
        )
    if (count_type is None) != ("countNumber" not in value):
        raise RejectedRequestError("request.selection must contain countType and countNumber together, or neither")
    if (count_type in _SINCE) != ("countUnit" in value):
        raise RejectedRequestError(
            f'request.selection must contain "countUnit": "days" with {" and ".join(_SINCE)}, and only with them'
        )
    return Selection(
        tag_status=tag_status,
        tag_patterns=patterns,
        exclude_tag_patterns=tuple(value.get("excludeTagPatternList", [])),
        count_type=count_type,
        count_number=value.get("countNumber", 0),
        keep_most_recent=value.get("keepMostRecent", 0),
    )


def _may_be_key(text: str) -> bool:
    return 0 < len(text) <= _KEY_CHARACTERS and text.isascii()


def _quoted(text: str) -> str:
    """A sender's words as they may stand anywhere: JSON can spell half a surrogate pair, which UTF-8 cannot hold."""
    return text[:_QUOTED_CHARACTERS].encode(errors="backslashreplace").decode()


def _shorthand(text: str) -> ImageId:
    members = {key: _unquoted(member) for key, member in _SHORTHAND_MEMBER.findall(text)}
    return ImageId(members.get("imageDigest"), members.get("imageTag"))


def _unquoted(member: str) -> str:
    """A value as the CLI's own parser reads it."""
    return member[1:-1] if member[:1] in ("'", '"') else member.lstrip(string.whitespace).rstrip()


def _object(pairs: list[tuple[str, Any]]) -> Json:
    """A JSON object; one that says a key twice is refused, for it asks for two things and would be taken for one."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise RejectedRequestError("the message body has an object that says a key twice; say it once")
    return members
