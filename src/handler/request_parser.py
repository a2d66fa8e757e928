"""A payload becomes a DeletionRequest: what may be asked for, what may not be asked for together, and what it means."""

import hashlib
import itertools
import json
import re
import string
from collections.abc import Collection
from pathlib import Path

from .models.errors import RejectedRequestError
from .models.images import ImageId, Json
from .models.request import DeletionRequest, Part, Payload, Selection

try:  # the package has it as Python: to compile it takes 6 % of a cold start, to import the compiler 1 %
    from .contract import JsonSchemaValueException  # type: ignore[import-not-found]
    from .contract import validate as _validate
except ModuleNotFoundError:
    from fastjsonschema import JsonSchemaValueException
    from fastjsonschema import compile as compiled

    _validate = compiled(json.loads(Path(__file__).with_name("deletion_request.schema.json").read_text()))

_SINCE = ("sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned")
_OF_ARCHIVE = ("sinceImageTransitioned", "gracePeriodEnded")
_SHORTHAND_MEMBER = re.compile(r"""(imageTag|imageDigest)=("[^"]*"|'[^']*'|[^,"']*)""")
_PLACEHOLDER = "<aws.scheduler."
_SCHEDULE = r"(arn:aws[a-z-]*:scheduler:[a-z0-9-]+:\d{12}:schedule/[^/]+/[^/]+)/"
"""How the requestId of a scheduled request begins."""


def parse_request(payload: Payload) -> DeletionRequest:
    """Returns the request in a payload. Raises RejectedRequestError naming the path and what was expected.

    What it refuses, it refuses at every receive: the limits of the stack are not asked.
    """
    content = payload.content
    if payload.is_result:
        raise RejectedRequestError(
            "this event says what became of a request, and is none: the rule that sent it must leave out the detail "
            "types ECR Image Deletion Completed, Rejected and Summarized"
        )
    if isinstance(content, dict):
        for one, other in (("repositoryName", "repositoryNames"), ("imageIds", "selection")):
            if (one in content) == (other in content):
                from .request_errors import misspelt_key  # noqa: PLC0415  # most requests have no error

                problem = f"request must contain exactly one of {one} and {other}"
                raise RejectedRequestError(misspelt_key(content) or problem)
    try:
        _validate(content, name_prefix="request")
    except JsonSchemaValueException as error:
        from .request_errors import explain  # noqa: PLC0415  # most requests have no error

        raise RejectedRequestError(explain(error)) from error
    _check_names(content)
    _check_switches(content)
    _check_action(content)
    if content.get("notify") == "summary" and "repositoryNames" not in content and not Part.of(payload.key):
        raise RejectedRequestError(
            'request.notify "summary" is one report for all of repositoryNames; for one repository say "always"'
        )
    request_id = content.get("requestId")
    if request_id and _PLACEHOLDER in request_id:
        raise RejectedRequestError(
            f'request.requestId holds a placeholder, "{_PLACEHOLDER}", that EventBridge Scheduler has not filled in: '
            "every run would repeat the first; send it as the input of a schedule, spelt as Scheduler knows it"
        )
    named = [
        _shorthand(value) if isinstance(value, str) else ImageId.from_json(value)
        for value in content.get("imageIds", [])
    ]
    image_ids = tuple(dict.fromkeys(named))
    own_key = payload.request_id is None and request_id is not None
    origin = payload.origin
    if request_id and (schedule := re.match(_SCHEDULE, request_id)):
        origin = origin._replace(kind="schedule", source=schedule[1])
    return DeletionRequest(
        key=("request", request_id) if own_key else payload.key,
        request_id=payload.request_id or request_id or payload.origin.id,
        repository_name=content.get("repositoryName", ""),
        image_ids=image_ids,
        origin=origin,
        content_hash=_content_hash(content, image_ids),
        registry_id=content.get("registryId"),
        reason=content.get("reason"),
        dry_run=content.get("dryRun", False),
        notify=content.get("notify", "failures"),
        action=content.get("action", "delete"),
        untag=content.get("untag", False),
        cascade=content.get("cascade"),
        selection=_selection(content["selection"]) if "selection" in content else None,
        allow_percent=content.get("allowPercent"),
        repository_names=tuple(dict.fromkeys(content.get("repositoryNames", []))),
        turn=payload.turn,
        taken=payload.taken,
        payload=content,
    )


def over_limits(
    request: DeletionRequest,
    registry_ids: Collection[str],
    *,
    max_images: int,
    max_percent: int | None,
    allow_archive: bool,
) -> str | None:
    """Returns why the limits of the stack do not admit a request; None if they do.

    `max_percent` is the largest share of a repository that it may ask for; None if it may ask for any.
    """
    if request.action != "delete" and not allow_archive:
        return f'request.action "{request.action}" is for stacks whose AllowArchive is true'
    if request.registry_id is not None and request.registry_id not in registry_ids:
        return (
            f"request.registryId must be one of {', '.join(registry_ids)}; the stack's ForeignRegistryIds allows others"
        )
    if len(request.image_ids) > max_images and request.action != "restore":
        return (
            f"request.imageIds must name at most {max_images:,} images, not {len(request.image_ids):,}; send several "
            "requests, or set the stack's MaxImagesPerRequest"
        )
    if max_percent is not None and (request.allow_percent or 0) > max_percent:
        return (
            f"request.allowPercent must be at most {max_percent}, the stack's MaxPercentOfRepository; its "
            "AllowPercentInRequests would let requests raise that"
        )
    return None


def _content_hash(content: Json, image_ids: Collection[ImageId]) -> str:
    """Returns a hash of everything that was asked; the order too, for it decides which ids share a chunk."""
    # Digests and tags stand in turn, for thousands of small lists would take three times as long.
    hashed = {**content, "imageIds": list(itertools.chain.from_iterable(image_ids))}
    try:
        return hashlib.sha256(json.dumps(hashed, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise RejectedRequestError("request holds half a surrogate pair, which is no character; send UTF-8") from error


def _check_names(content: Json) -> None:
    """Refuses a repository that is named with its registry."""
    if any(".dkr" in name for name in content.get("repositoryNames") or [content["repositoryName"]]):
        from .request_errors import registry_uri  # noqa: PLC0415  # most requests have no error

        if uri := registry_uri(content):
            raise RejectedRequestError(uri)


def _check_switches(content: Json) -> None:
    """Refuses switches that cannot be combined."""
    if content.get("untag") and content.get("cascade"):
        raise RejectedRequestError("request.untag keeps every image, so request.cascade cannot be true beside it")
    if "cascade" in content and "selection" in content:
        raise RejectedRequestError("request.cascade is for imageIds; a selection always takes whole images")
    if content.get("untag") and content.get("selection", {}).get("storageClass") == "archive":
        raise RejectedRequestError('request.untag is for images that can be pulled; say "storageClass": "standard"')
    if content.get("untag") and "selection" in content and content["selection"]["tagStatus"] != "tagged":
        raise RejectedRequestError(
            'request.untag removes the tags that match the patterns of a selection; say "tagStatus": "tagged"'
        )
    if "allowPercent" in content and "selection" not in content:
        raise RejectedRequestError("request.allowPercent is for a selection; imageIds take what they name")


def _check_action(content: Json) -> None:
    """Refuses what is for deletions alone, and selections of images that are in their storage class already."""
    if (action := content.get("action", "delete")) == "delete":
        return
    for key in ("untag", "cascade"):
        if key in content:
            raise RejectedRequestError(
                f"request.{key} is for deletions; images are archived and restored with all that belongs to them"
            )
    wanted, selection = "archive" if action == "restore" else "standard", content.get("selection", {})
    if selection and selection.get("storageClass", "standard") != wanted:
        raise RejectedRequestError(
            f'request.selection with action "{action}" must mean images in the other storage class; say '
            f'"storageClass": "{wanted}"'
        )
    if selection.get("countType") == "gracePeriodEnded":
        raise RejectedRequestError(
            'request.selection with countType "gracePeriodEnded" is for deletions; say archivedBy or tag patterns'
        )


def _selection(value: Json) -> Selection:
    """Returns what a selection means; refuses one that means everything by omission, or nothing at all."""
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
    if tag_status != "tagged" and count_type is None and not {"keepMostRecent", "archivedBy"} & value.keys():
        raise RejectedRequestError(
            f'request.selection with tagStatus "{tag_status}" must contain countType or keepMostRecent'
            f"{', or archivedBy' if value.get('storageClass') == 'archive' else ''}; without, it would take all"
        )
    _check_archive(value)
    if (count_type in {None, "gracePeriodEnded"}) != ("countNumber" not in value):
        raise RejectedRequestError("request.selection must contain countType and countNumber together, or neither")
    if (count_type in _SINCE) != ("countUnit" in value):
        raise RejectedRequestError(
            f'request.selection must contain "countUnit": "days" with {", ".join(_SINCE)}, and only with them'
        )
    return Selection(
        tag_status=tag_status,
        tag_patterns=patterns,
        exclude_tag_patterns=tuple(value.get("excludeTagPatternList", [])),
        count_type=count_type,
        count_number=value.get("countNumber", 0),
        keep_most_recent=value.get("keepMostRecent", 0),
        storage_class=value.get("storageClass", "standard"),
        archived_by=value.get("archivedBy"),
    )


def _check_archive(value: Json) -> None:
    """Refuses what says something about archived images, and does not mean them."""
    count_type = value.get("countType")
    if value.get("storageClass") != "archive":
        if count_type in _OF_ARCHIVE:
            raise RejectedRequestError(
                f'request.selection with countType "{count_type}" must contain "storageClass": "archive"'
            )
        if "archivedBy" in value:
            raise RejectedRequestError('request.selection with archivedBy must contain "storageClass": "archive"')
    if count_type == "gracePeriodEnded" and "countNumber" in value:
        raise RejectedRequestError(
            f'request.selection with countType "{count_type}" must not contain countNumber; GracePeriodDays says it'
        )


def _shorthand(text: str) -> ImageId:
    members = {key: _unquoted(member) for key, member in _SHORTHAND_MEMBER.findall(text)}
    return ImageId(members.get("imageDigest"), members.get("imageTag"))


def _unquoted(member: str) -> str:
    """Returns a value as the CLI's own parser reads it."""
    return member[1:-1] if member[:1] in ("'", '"') else member.lstrip(string.whitespace).rstrip()
