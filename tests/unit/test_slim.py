"""What the build takes out of the models that botocore reads."""

from slim import undocumented


def test_a_model_loses_its_texts_alone() -> None:
    """A member that is called "documentation" is part of the API; all else is left as it was, at any depth."""
    model = {
        "documentation": "<p>What it is for.</p>",
        "shapes": {
            "Layer": {
                "type": "structure",
                "documentation": "<p>A layer.</p>",
                "members": {"documentation": {"shape": "Text", "documentation": "<p>Its text.</p>"}},
            },
        },
        "rules": [{"conditions": [], "documentation": "why"}, {"type": "error"}, 1, None],
    }
    assert undocumented(model) == {
        "shapes": {"Layer": {"type": "structure", "members": {"documentation": {"shape": "Text"}}}},
        "rules": [{"conditions": []}, {"type": "error"}, 1, None],
    }
