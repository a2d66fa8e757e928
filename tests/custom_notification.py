"""What Amazon Q Developer in chat applications takes of messages that are not AWS's own."""

from typing import Any

import jsonschema

TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["version", "source", "content"],
    "additionalProperties": False,
    "properties": {
        "version": {"enum": ["1.0"]},
        "source": {"enum": ["custom"]},
        "id": {"type": "string"},
        "content": {
            "type": "object",
            "required": ["description"],
            "additionalProperties": False,
            "properties": {
                "textType": {"enum": ["client-markdown"]},
                "title": {"type": "string", "minLength": 1, "maxLength": 250},
                "description": {"type": "string", "minLength": 1, "maxLength": 8_000},
                "nextSteps": TEXTS,
                "keywords": TEXTS,
            },
        },
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                **{name: {"type": "string", "minLength": 1} for name in ("threadId", "summary", "eventType")},
                "relatedResources": TEXTS,
                "additionalContext": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}
"""Of custom notifications, from AWS's documents; how long title and description may be, from a client's source."""
CUSTOM_NOTIFICATION = jsonschema.Draft202012Validator(SCHEMA)
