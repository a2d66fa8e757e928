"""The role of acceptance/role.yaml: with nothing that no code calls."""

from botocore import xform_name

from tests.acceptance_role import IMPLIED, NOT_CALLED, ROLE, allowed

SOURCE = "\n".join(path.read_text() for path in ROLE.parent.rglob("*.py"))


def test_each_action_is_called_or_implied() -> None:
    """By a method of that name; what a run here does not call stands in the code nevertheless."""
    assert allowed() >= IMPLIED | NOT_CALLED
    for action in allowed() - IMPLIED:
        method = xform_name(action.partition(":")[2]).replace("invoke_function", "invoke")
        assert f".{method}(" in SOURCE or f'"{method}"' in SOURCE or f".{method}," in SOURCE, action


def test_images_and_repositories_are_deleted_only_where_the_tag_is() -> None:
    """IAM holds that too, whatever the code does."""
    text = ROLE.read_text()
    statement = text.partition("Sid: DeleteInOwnRepositories")[2].partition("- Sid:")[0]
    assert "ecr:BatchDeleteImage, ecr:DeleteRepository" in statement
    assert "aws:ResourceTag/ecr-image-deletion-acceptance" in statement
    for action in ("ecr:BatchDeleteImage", "ecr:DeleteRepository"):
        assert text.count(action) == 1
