"""`make invoke`: the built package in Lambda's runtime emulator, before the AWS of `make serve`."""

import json
from pathlib import Path

import pytest

from local import invoke
from local.aws import EmbeddedAWS
from local.images import push_samples
from local.serve import write_environment

EVENTS = Path(__file__).resolve().parents[2] / "events"


@pytest.fixture
def variables(aws: EmbeddedAWS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a running `make serve` has written."""
    write_environment(aws, tmp_path / "env.json")
    monkeypatch.setattr(invoke.environment, "__defaults__", (tmp_path / "env.json",))
    monkeypatch.setattr(invoke, "LOG", tmp_path / "invoke.log")
    return tmp_path / "env.json"


def test_a_request_is_carried_out_before_the_running_aws(
    aws: EmbeddedAWS, variables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is printed, the image is deleted, and the function's log is in a file beside."""
    push_samples(aws.client("ecr"))
    assert invoke.main([str(EVENTS / "by-hand.json")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [image_id["imageTag"] for image_id in answer["imageIds"]] == ["precise"]
    assert all("precise" not in tags for _, tags in aws.images("ubuntu"))
    assert "request done" in variables.with_name("invoke.log").read_text()


def test_a_rejected_request_is_an_error(variables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed, with what to write instead."""
    del variables
    (tmp_path / "request.json").write_text('{"repositoryName": "team/app", "imageIds": ["pr-5"]}')
    assert invoke.main([str(tmp_path / "request.json")]) == 1
    assert 'write "imageTag=pr-5"' in capsys.readouterr().err


def test_without_a_running_aws_it_says_what_to_start(tmp_path: Path) -> None:
    """Before it was ever started, and after it has ended."""
    with pytest.raises(LookupError, match="make serve"):
        invoke.environment(tmp_path / "env.json")
    with EmbeddedAWS() as aws:
        write_environment(aws, tmp_path / "env.json")
    with pytest.raises(LookupError, match="start it in another terminal"):
        invoke.environment(tmp_path / "env.json")
