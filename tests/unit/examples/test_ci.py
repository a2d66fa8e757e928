"""The workflows of GitHub Actions and GitLab CI send requests that the function takes, under a role that only sends."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from ruamel.yaml import YAML

from tests.examples import EXAMPLES, check_request, check_shell, resolve, sent_by, template

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:requests"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/requests"

GITHUB = {
    "github.repository": "my-org/app",
    "github.event.pull_request.number": "417",
    "github.run_id": "19283746",
    "vars.IMAGE_DELETION_QUEUE_URL": URL,
}
"""Values of the workflow's expressions."""

GITLAB = {
    "CI_PROJECT_PATH": "my-group/app",
    "CI_MERGE_REQUEST_IID": "417",
    "CI_PIPELINE_ID": "19283746",
    "IMAGE_DELETION_QUEUE_URL": URL,
    "AWS_TOKEN": "a.b.c",
}
"""Variables that GitLab, and the project's settings, give to the job."""


def read(path: str) -> Any:
    """YAML 1.2, as these services read it: `on` is a word."""
    return YAML(typ="safe").load((EXAMPLES / path).read_text())


def github_request(tmp_path: Path, dry_run_variable: str) -> dict[str, Any]:
    """Sends the workflow's request with an `aws` that sends nothing; returns the request, checked."""
    [job] = read("github-actions/delete-images.yml")["jobs"].values()
    [step] = [step for step in job["steps"] if "run" in step]
    dry_run = {"vars.IMAGE_DELETION_DRY_RUN != 'false'": str(dry_run_variable != "false").lower()}
    environment = {
        name: re.sub(r"\$\{\{ (.*?) \}\}", lambda expression: (GITHUB | dry_run)[expression[1]], value)
        for name, value in step["env"].items()
    }
    url, body = sent_by(step["run"], environment, tmp_path)
    assert url == URL
    return check_request(body)


def gitlab_request(tmp_path: Path, dry_run_variable: str) -> dict[str, Any]:
    """Sends the job's request with an `aws` that sends nothing; returns the request, checked."""
    pipeline = read("gitlab-ci/delete-images.gitlab-ci.yml")
    job = pipeline["delete-images"]
    known = pipeline["variables"] | GITLAB | ({"IMAGE_DELETION_DRY_RUN": dry_run_variable} if dry_run_variable else {})
    request = re.sub(r"\$(\w+)", lambda variable: known[variable[1]], job["variables"]["REQUEST"])
    token = tmp_path / "token"
    environment = known | {"REQUEST": request, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    url, body = sent_by("\n".join(job["script"]), environment, tmp_path)
    assert url == URL
    assert token.read_text() == "a.b.c"
    return check_request(body)


@pytest.mark.parametrize(
    ("path", "schema", "dialect"),
    [
        ("github-actions/delete-images.yml", "vendor.github-workflows", jsonschema.Draft7Validator),
        ("gitlab-ci/delete-images.gitlab-ci.yml", "vendor.gitlab-ci", jsonschema.Draft7Validator),
    ],
)
def test_the_file_is_one_that_the_service_reads(path: str, schema: str, dialect: Any) -> None:
    """By the schemas that SchemaStore has of both."""
    jsonschema.validate(read(path), get_builtin_schema(schema), cls=dialect)


@pytest.mark.parametrize("send", [github_request, gitlab_request])
def test_the_request_is_a_dry_run_until_somebody_says_otherwise(send: Any, tmp_path: Path) -> None:
    """And reports in any case. The real one is a separate request; both mean the images of this number alone."""
    by_default, still_dry, real = send(tmp_path, ""), send(tmp_path, "true"), send(tmp_path, "false")
    assert by_default == still_dry
    assert still_dry["dryRun"]
    assert not real["dryRun"]
    assert still_dry["requestId"] != real["requestId"]
    assert still_dry["notify"] == "always"
    [prefix] = still_dry["selection"]["tagPrefixList"]
    assert re.fullmatch(r"[a-z]+-417-", prefix)
    assert "19283746" in real["requestId"]


def test_the_workflow_runs_nothing_of_the_pull_request() -> None:
    """It has no checkout, and its shell gets what it needs as variables: no expression is pasted into a script."""
    workflow = read("github-actions/delete-images.yml")
    assert workflow["on"] == {"pull_request_target": {"types": ["closed"]}}
    assert workflow["permissions"] == {}
    [job] = workflow["jobs"].values()
    assert job["permissions"] == {"id-token": "write"}
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [re.sub("@.*", "", action) for action in actions] == ["aws-actions/configure-aws-credentials"]
    assert all(re.fullmatch(r".*@[0-9a-f]{40}", action) for action in actions)
    for step in job["steps"]:
        if "run" in step:
            assert "${{" not in step["run"]
            check_shell(step["run"])


def test_gitlab_stops_the_environment_that_the_images_belong_to() -> None:
    """Closing the merge request stops it, and that runs the job."""
    pipeline = read("gitlab-ci/delete-images.gitlab-ci.yml")
    push, delete = pipeline["push-images"], pipeline["delete-images"]
    assert push["environment"]["on_stop"] == "delete-images"
    assert delete["environment"] == {"name": push["environment"]["name"], "action": "stop"}
    assert [rule["if"] for rule in push["rules"]] == [rule["if"] for rule in delete["rules"]]
    assert delete["rules"][0]["when"] == "manual"
    check_shell("\n".join(push["script"] + delete["script"]), "sh")


@pytest.mark.parametrize("folder", ["github-actions", "gitlab-ci"])
def test_the_role_only_sends(folder: str) -> None:
    """Messages to the request queue, encrypted where there is a key."""
    resources = template(f"{folder}/sender.yaml")["Resources"]
    names = {"RequestQueueArn": QUEUE, "KmsKeyArn": "key"}
    [policy] = resolve(resources["SenderRole"]["Properties"]["Policies"], names)
    assert policy["PolicyDocument"]["Statement"] == [
        {"Sid": "SendRequests", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE}
    ]
    [statement] = resolve(resources["SenderKeyPolicy"]["Properties"]["PolicyDocument"]["Statement"], names)
    assert statement["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert "kms:ViaService" in statement["Condition"]["StringEquals"]


@pytest.mark.parametrize(
    ("folder", "issuer", "names", "subject"),
    [
        (
            "github-actions",
            "token.actions.githubusercontent.com",
            {"SubjectPrefix": "repo:my-org@1/app@2", "GitHubEnvironment": "image-deletion"},
            ("StringEquals", "repo:my-org@1/app@2:environment:image-deletion"),
        ),
        (
            "gitlab-ci",
            "gitlab.com",
            {"ProjectPath": "my-group/app"},
            ("StringLike", "project_path:my-group/app:ref_type:branch:ref:*"),
        ),
    ],
)
def test_the_role_trusts_one_repository(
    folder: str, issuer: str, names: dict[str, str], subject: tuple[str, str]
) -> None:
    """Not all that the identity provider vouches for: the subject is a condition, and so is the audience."""
    example = template(f"{folder}/sender.yaml")
    role = example["Resources"]["SenderRole"]["Properties"]
    [statement] = resolve(role["AssumeRolePolicyDocument"], names)["Statement"]
    operator, value = subject
    assert statement["Condition"][operator][f"{issuer}:sub"] == value
    assert statement["Condition"]["StringEquals"][f"{issuer}:aud"] in {"sts.amazonaws.com", "https://gitlab.com"}
    assert example["Resources"]["OidcProvider"]["Properties"]["ClientIdList"] == [
        statement["Condition"]["StringEquals"][f"{issuer}:aud"]
    ]
    for parameter in names:
        assert not re.fullmatch(example["Parameters"][parameter]["AllowedPattern"], "repo:my-org/*")


def test_the_workflow_and_its_role_agree() -> None:
    """The job is in the environment, and asks for the audience, that the trust policies admit."""
    parameters = template("github-actions/sender.yaml")["Parameters"]
    [job] = read("github-actions/delete-images.yml")["jobs"].values()
    assert job["environment"] == parameters["GitHubEnvironment"]["Default"]
    tokens = read("gitlab-ci/delete-images.gitlab-ci.yml")["delete-images"]["id_tokens"]
    assert json.dumps(tokens) == '{"AWS_TOKEN": {"aud": "https://gitlab.com"}}'
