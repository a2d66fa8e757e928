"""A notice as Amazon Q Developer in chat applications shows it in Slack or Microsoft Teams: its custom notifications.

https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html has the schema; messages of any other shape are
dropped. Whatever senders wrote stands in code, where it calls nobody, links to nothing and begins no line.
"""

import json
from collections.abc import Iterator

from handler.models.images import Json

from .advice import NOTHING, advice
from .text import codes_text, headline, name_of, printable

_TITLE_CHARACTERS, _DESCRIPTION_CHARACTERS = 250, 8_000
"""No document says how long they may be: a client's source does."""
_VALUE_CHARACTERS, _REQUEST_CHARACTERS = 200, 1_500
_ENTRIES_SHOWN = 10
_SIGNS = {"failure": "\u26a0", "rejection": "\u26d4", "report": "\u2705"}
_JSON = str.maketrans({character: f"\\u{ord(character):04x}" for character in "`<>"})
"""The same characters as JSON can spell them, in a request that is copied."""
_CODE = str.maketrans({"`": "'", "<": "\u2039", ">": "\u203a"})


def chat_message(subject: str, data: Json) -> Json:
    """Returns the notice of this data as a message for a channel, in the thread of what was asked for."""
    kind, origin = data["type"], data["origin"]
    request_id = data.get("requestId", origin["id"])
    repository = [data["repositoryName"]] if "registryId" in data and "repositoryName" in data else []
    return {
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": f"{_SIGNS.get(kind, '\u2139')} {subject}"[:_TITLE_CHARACTERS],
            "description": "\n".join(_lines(data))[:_DESCRIPTION_CHARACTERS],
            "nextSteps": list(_steps(data)),
            "keywords": [kind, *repository, *list(data.get("failuresByCode", ()))[:_ENTRIES_SHOWN]],
        },
        "metadata": {
            "threadId": data.get("partOf", request_id),
            "summary": headline(data),
            "eventType": kind,
            "additionalContext": {"requestId": request_id},
        },
    }


def _lines(data: Json) -> Iterator[str]:
    origin = data["origin"]
    yield headline(data)
    yield ""
    if "registryId" in data and "repositoryName" in data:
        yield f"*Repository:* {_code(data['repositoryName'])} in registry {_code(data['registryId'])}"
    if "repositoryNames" in data:
        yield f"*Requested:* {', '.join(map(_code, data['repositoryNames'][:_ENTRIES_SHOWN]))}"
    yield f"*Request:* {_code(data.get('requestId', origin['id']))}"
    yield f"*Sent by:* {_code(origin['sender'] or 'not known')}, {origin['kind']} {_code(origin['id'])}"
    if data.get("reason"):
        yield f"*Reason:* {_code(data['reason'])}"
    if "error" in data:
        yield f"*Why:* {_code(data['error'], _REQUEST_CHARACTERS)}"
    entries = [
        f"{_code(name_of(failure))}: {failure['failureCode']}: {_code(failure['failureReason'])}"
        for failure in data.get("failures", ())
    ]
    entries += [
        f"{_code(e['repositoryName'])}: rejected: {_code(e['error'])}" for e in data.get("rejectedRepositories", ())
    ]
    entries += [f"{_code(name)}: not finished" for name in data.get("unfinishedRepositories", ())]
    entries += [
        f"{_code(e['repositoryName'])}: {codes_text(e['failuresByCode'])}" for e in data.get("failedRepositories", ())
    ]
    if entries:
        yield ""
        yield from (f"\u2022 {entry}" for entry in entries[:_ENTRIES_SHOWN])
    if len(entries) > _ENTRIES_SHOWN:
        yield "and more: the e-mail and the JSON form of this notice have them."


def _steps(data: Json) -> Iterator[str]:
    to_do = advice(data)
    if to_do != NOTHING:
        yield to_do
    request = json.dumps(data["retryRequest"]).translate(_JSON) if "retryRequest" in data else ""
    if 0 < len(request) <= _REQUEST_CHARACTERS:
        yield f"Send this request: {_code(request, _REQUEST_CHARACTERS)}"


def _code(text: str, most: int = _VALUE_CHARACTERS) -> str:
    """Returns a text as code: no character in it ends that, nor means anything to a chat application."""
    shown = printable(text).translate(_CODE)
    return f"`{(shown if len(shown) <= most else f'{shown[: most - 1]}\u2026') or ' '}`"
