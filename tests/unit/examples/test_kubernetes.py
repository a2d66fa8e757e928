"""The script of examples/kubernetes declares all images that a cluster uses, or none; its manifests let it do so."""

import ast
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from ruamel.yaml import YAML

from examples.kubernetes import declare
from handler.usage.declaration import parse_declaration
from tests.examples import EXAMPLES, shell_blocks, stack
from tests.fakes import cluster as fake
from tests.fakes.cluster import Cluster, http_error, owner, pod

FOLDER = EXAMPLES / "kubernetes"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
APP = f"{REGISTRY}/team/app"
DIGEST, OTHER = ("sha256:" + letter * 64 for letter in "ab")
SETTINGS = {"SOURCE": "eks/prod", "REGION": "eu-west-1"}


def manifests() -> dict[str, Any]:
    """The manifests, by their kinds."""
    return {each["kind"]: each for each in YAML(typ="safe").load_all((FOLDER / "in-use.yaml").read_text())}


def kustomization() -> Any:
    """The settings of whoever applies them."""
    return YAML(typ="safe").load((FOLDER / "kustomization.yaml").read_text())


def granted() -> set[tuple[str, str]]:
    """The API groups and resources that the ClusterRole grants."""
    return {
        (group, resource)
        for rule in manifests()["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def images(path: str, *objects: Any) -> set[str]:
    """The images of a cluster that has these objects, and nothing else."""
    return declare.cluster_images(Cluster({path: list(objects)}).get) - {""}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Puts an `aws` into the path that sends nothing; returns the file with its arguments and what it was given."""
    path = tmp_path / "sent"
    aws = tmp_path / "aws"
    aws.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        f"pathlib.Path({str(path)!r}).write_text(json.dumps([sys.argv[1:], pathlib.Path('/dev/stdin').read_text()]))\n"
        """print('{"FailedEntryCount": 0}')\n"""
    )
    aws.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return path


# What is found


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize("scheme", ["", "docker-pullable://"])
def test_a_pods_images_are_found_by_name_and_by_digest(kind: str, scheme: str) -> None:
    """In each kind of container, with the prefix that Docker puts before it or without."""
    found = images(fake.PODS, pod(f"{APP}:v1", ran=(f"{scheme}{APP}@{DIGEST}",), kind=kind))
    assert found == {f"{APP}:v1", f"{APP}@{DIGEST}"}


@pytest.mark.parametrize("image_id", [DIGEST, f"docker://{DIGEST}", "", None])
def test_where_the_id_is_no_address_the_specs_name_is_used(image_id: str | None) -> None:
    """A bare id is that of a configuration; no registry knows the image by it. A container that waits has none."""
    assert images(fake.PODS, pod(f"{APP}:v1", ran=(image_id or "",))) == {f"{APP}:v1"}
    assert images(fake.PODS, {"spec": pod(f"{APP}:v1")["spec"]}) == {f"{APP}:v1"}


@pytest.mark.parametrize("name", [f"{APP}:v1", APP, f"{APP}@{OTHER}", f"{APP}:v1@{OTHER}"])
def test_a_digest_holds_in_the_repository_that_the_spec_names(name: str) -> None:
    """A node that has the same image from two repositories may name the other."""
    found = images(fake.PODS, pod(name, ran=(f"docker.io/library/app@{DIGEST}",)))
    assert found == {name, f"docker.io/library/app@{DIGEST}", f"{APP}@{DIGEST}"}


def test_the_port_of_a_registry_is_no_tag() -> None:
    """It stands before the last slash."""
    assert declare.repository("registry:5000/app") == "registry:5000/app"
    assert declare.repository("registry:5000/app:v1") == "registry:5000/app"


def test_an_image_volume_is_found() -> None:
    """The kubelet pulls it like that of a container."""
    volumes = [{"name": "model", "image": {"reference": f"{APP}:model"}}, {"name": "tmp", "emptyDir": {}}]
    assert images(fake.PODS, pod(f"{APP}:v1", volumes=volumes)) == {f"{APP}:v1", f"{APP}:model"}


@pytest.mark.parametrize(
    "path",
    [
        fake.REPLICATION_CONTROLLERS,
        fake.DEPLOYMENTS,
        fake.REPLICA_SETS,
        fake.STATEFUL_SETS,
        fake.DAEMON_SETS,
        fake.JOBS,
    ],
)
@pytest.mark.parametrize("spec", [{"replicas": 0}, {"suspend": True}, {}])
def test_what_may_start_again_is_in_use(path: str, spec: Any) -> None:
    """Although it is scaled to zero, kept for a rollback or suspended."""
    assert images(path, owner(f"{APP}:v1", **spec)) == {f"{APP}:v1"}


def test_a_cron_jobs_image_is_in_use() -> None:
    """Between its runs too."""
    cron_job = {"spec": {"suspend": True, "jobTemplate": owner(f"{APP}:v1")}}
    assert images(fake.CRON_JOBS, cron_job) == {f"{APP}:v1"}


@pytest.mark.parametrize(
    ("conditions", "finished"),
    [
        ([{"type": "Complete", "status": "True"}], True),
        ([{"type": "Failed", "status": "True"}], True),
        ([{"type": "Complete", "status": "False"}], False),
        ([{"type": "Suspended", "status": "True"}], False),
        (None, False),
    ],
)
def test_a_finished_job_starts_no_more_pods(conditions: Any, finished: bool) -> None:  # noqa: FBT001
    """Its own images are in use as long as its pods are there."""
    job = owner(f"{APP}:v1") | {"status": {"conditions": conditions}}
    assert images(fake.JOBS, job) == (set() if finished else {f"{APP}:v1"})


def test_former_revisions_are_in_use() -> None:
    """Of StatefulSets and DaemonSets, which have no ReplicaSets. What others keep there may be anything."""
    revision = {"data": owner(f"{APP}:v1") | {"$patch": "replace"}}
    others: list[Any] = [{}, {"data": None}, {"data": [1]}, {"data": {"spec": {"template": "text"}}}]
    assert images(fake.REVISIONS, revision, *others) == {f"{APP}:v1"}


def test_a_template_may_leave_its_image_out() -> None:
    """Kubernetes lets it, for tools that fill it in."""
    template = {"spec": {"template": {"spec": {"containers": [{"name": "c0"}]}}}}
    assert images(fake.DEPLOYMENTS, template) == set()


# All or nothing


def test_every_page_of_every_list_is_read() -> None:
    """And an image that stands in several places is declared once."""
    pods = [pod(f"{APP}:v{n % 30}") for n in range(45)]
    found = declare.cluster_images(Cluster({fake.PODS: pods}, page=7).get)
    assert found == {f"{APP}:v{n}" for n in range(30)}


@pytest.mark.parametrize("nth", range(1, 13))
@pytest.mark.parametrize("failure", [http_error(403), http_error(429), http_error(500), TimeoutError(), ValueError()])
def test_half_a_list_is_never_declared(nth: int, failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever page of whichever list fails, and however."""
    cluster = Cluster({fake.PODS: [pod(f"{APP}:v{n}") for n in range(4)]}, page=1)
    cluster.failures = {nth: failure}
    monkeypatch.setattr(declare, "send", lambda _: pytest.fail("something was sent"))
    monkeypatch.setattr(declare, "api_server", lambda: cluster.get)
    monkeypatch.setattr(sys, "argv", ["declare.py"])
    monkeypatch.setenv("SOURCE", "eks/prod")
    with pytest.raises(type(failure)):
        declare.main()
    assert len(cluster.asked) == nth


def test_a_page_without_its_items_is_a_failure() -> None:
    """Such as the Status that some proxies pass on as a success."""
    with pytest.raises(KeyError):
        declare.cluster_images(lambda _: {"kind": "Status", "metadata": {}})


def test_a_list_that_is_gone_is_read_from_its_beginning() -> None:
    """What has ended since is not declared: the two halves would be of different times."""
    cluster = Cluster({fake.PODS: [pod(f"{APP}:v{n}") for n in range(3)]}, page=1)

    def get(path: str) -> Any:
        if len(cluster.asked) == 2:
            cluster.objects[fake.PODS] = [pod(f"{APP}:v{n}") for n in range(1, 4)]
            cluster.failures = {3: http_error(410)}
        return cluster.get(path)

    assert declare.listed_images(get, fake.PODS) == {f"{APP}:v{n}" for n in range(1, 4)}
    assert len(cluster.asked) == 3 + 3


def test_a_list_that_is_gone_again_and_again_is_given_up() -> None:
    """With an error that says so."""
    cluster = Cluster()
    cluster.failures = {n: http_error(410) for n in range(1, 100)}
    with pytest.raises(SystemExit, match="could not be listed"):
        declare.cluster_images(cluster.get)
    assert len(cluster.asked) == declare.RESTARTS


def test_no_image_at_all_is_a_mistake() -> None:
    """The cluster uses that which the script runs in."""
    with pytest.raises(SystemExit, match="no image"):
        declare.declaration("eks/prod", {""}, time.time())


def test_a_declaration_that_is_too_large_is_not_sent() -> None:
    """It says how large it is."""
    many = {f"{APP}@sha256:{n:064}" for n in range(8_000)}
    with pytest.raises(SystemExit, match="8000 images"):
        declare.declaration("eks/prod", many, time.time())
    assert len(declare.declaration("eks/prod", set(list(many)[:6_000]), time.time())) < declare.MAX_BYTES


# What is sent


def test_the_function_accepts_the_declaration() -> None:
    """It knows each image, also those of other registries, which do not matter to it."""
    found = images(fake.PODS, pod(f"{APP}:v1", "nginx:1.27", ran=(f"{APP}@{DIGEST}", f"docker.io/nginx@{OTHER}")))
    parsed = parse_declaration(json.loads(declare.declaration("eks/prod", found, time.time())), ("eks/prod",))
    assert {use.image.image_id for use in parsed.uses} == {(DIGEST, None), (None, "v1")}
    assert parsed.elsewhere == 3
    assert parsed.expires == pytest.approx(time.time() + 1_800, abs=5)


def test_it_is_sorted_and_holds_from_when_the_list_began() -> None:
    """Not from when it ended: what started meanwhile may not be in it."""
    content = json.loads(declare.declaration("eks/prod", {"b", "a", ""}, 1_000_000_000))
    assert content == {"source": "eks/prod", "imagesInUse": ["a", "b"], "expiresAt": "2001-09-09T02:16:40Z"}


def test_it_is_sent_to_the_queue(
    sent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the queue's region, whatever that of the cluster is; the log says how many images there are."""
    monkeypatch.setenv("QUEUE_URL", "https://queue")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(declare, "api_server", lambda: Cluster({fake.PODS: [pod(f"{APP}:v1")]}).get)
    monkeypatch.setattr(sys, "argv", ["declare.py"])
    declare.main()
    arguments, body = json.loads(sent.read_text())
    assert " ".join(arguments) == (
        "--region eu-west-1 sqs send-message --queue-url https://queue --message-body file:///dev/stdin"
    )
    assert json.loads(body)["imagesInUse"] == [f"{APP}:v1"]
    assert capsys.readouterr().out.startswith("eks/prod uses 1 images, until 20")


def test_it_is_sent_as_an_event(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the type that the stack's rule takes, and that the README's policy admits."""
    monkeypatch.setenv("EVENT_BUS", "default")
    declare.send('{"source": "eks/prod"}')
    arguments, entries = json.loads(sent.read_text())
    assert arguments[2:4] == ["events", "put-events"]
    [entry] = json.loads(entries)
    assert json.loads(entry["Detail"]) == {"source": "eks/prod"}
    assert entry["DetailType"] in str(stack()["Resources"]["RequestRule"]["Properties"]["EventPattern"]["$or"])
    readme = (FOLDER / "README.md").read_text()
    assert f'"events:detail-type": "{entry["DetailType"]}"' in readme
    assert f'"Source": "{entry["Source"]}"' in readme


def test_an_event_that_the_bus_did_not_take_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aws` exits with 0 all the same."""
    monkeypatch.setenv("EVENT_BUS", "default")
    monkeypatch.setattr(declare, "aws", lambda *_, **__: '{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "No"}]}')
    with pytest.raises(SystemExit, match="ErrorCode"):
        declare.send("{}")


def test_what_aws_refuses_is_a_failure(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the job fails."""
    (sent.parent / "aws").write_text("#!/bin/sh\nexit 254\n")
    monkeypatch.setenv("QUEUE_URL", "https://queue")
    with pytest.raises(subprocess.CalledProcessError):
        declare.send("{}")


def test_it_declares_what_it_is_given(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address a line, from anything that can print them."""
    monkeypatch.setenv("QUEUE_URL", "https://queue")
    monkeypatch.setenv("MINUTES", "60")
    monkeypatch.setattr(sys, "argv", ["declare.py", "-"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{APP}:v2\n\n{APP}:v1\n{APP}:v2\n"))
    declare.main()
    content = json.loads(json.loads(sent.read_text())[1])
    assert content["imagesInUse"] == [f"{APP}:v1", f"{APP}:v2"]
    assert parse_declaration(content, ("eks/prod",)).expires == pytest.approx(time.time() + 3_600, abs=5)


@pytest.mark.parametrize("failing", [None, "ps", "inspect", "image"])
def test_the_readmes_commands_for_docker_declare_all_or_nothing(sent: Path, failing: str | None) -> None:
    """A docker that fails halfway leaves nothing to declare."""
    docker = sent.parent / "docker"
    docker.write_text(
        f"#!/bin/sh\n[ $1 = {failing} ] && exit 1\n[ $1 = image ] && echo {APP}@{DIGEST}\necho {APP}:v1\n"
    )
    docker.chmod(0o755)
    (sent.parent / "python3").symlink_to(sys.executable)
    [block] = [block for block in shell_blocks((FOLDER / "README.md").read_text()) if "docker" in block]
    run = subprocess.run(["/bin/sh", "-c", block], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert sent.exists() == (run.returncode == 0) == (failing is None), run.stderr
    if not failing:
        assert json.loads(json.loads(sent.read_text())[1])["imagesInUse"] == [f"{APP}:v1", f"{APP}@{DIGEST}"]


# The manifests


def test_the_script_may_do_what_it_does_and_no_more() -> None:
    """It lists exactly what the ClusterRole lets it list, without anything being left over."""
    assert {verb for rule in manifests()["ClusterRole"]["rules"] for verb in rule["verbs"]} == {"list"}
    cluster = Cluster()
    cluster.granted = granted()
    declare.cluster_images(cluster.get)
    assert len(cluster.asked) == len(granted())


@pytest.mark.parametrize("resource", sorted(granted()))
def test_a_permission_that_is_missing_fails_the_run(resource: tuple[str, str]) -> None:
    """Somebody may have taken it out of the ClusterRole."""
    cluster = Cluster()
    cluster.granted = granted() - {resource}
    with pytest.raises(HTTPError):
        declare.cluster_images(cluster.get)


def test_the_names_fit_together() -> None:
    """Role, binding, account, namespace, settings and script."""
    found, settings = manifests(), kustomization()
    account, binding, cron_job = found["ServiceAccount"]["metadata"], found["ClusterRoleBinding"], found["CronJob"]
    assert binding["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    namespaces = {account["namespace"], cron_job["metadata"]["namespace"], settings["namespace"]}
    assert namespaces == {found["Namespace"]["metadata"]["name"]}
    spec = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["serviceAccountName"] == account["name"]
    generated = {each["name"]: each for each in settings["configMapGenerator"]}
    assert container["envFrom"] == [{"configMapRef": {"name": "in-use-settings"}}]
    assert {literal.partition("=")[0] for literal in generated["in-use-settings"]["literals"]} == {
        *SETTINGS,
        "QUEUE_URL",
    }
    assert spec["volumes"][0] == {"name": "script", "configMap": {"name": "in-use-script"}}
    assert generated["in-use-script"]["files"] == ["declare.py"]
    assert container["command"] == ["python3", f"{container['volumeMounts'][0]['mountPath']}/declare.py"]
    assert [image["name"] for image in settings["images"]] == [container["image"]]
    assert re.fullmatch(r"[\d.]+", settings["images"][0]["newTag"])
    subject = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert subject in (FOLDER / "README.md").read_text()


def test_a_declaration_outlives_two_runs_that_fail() -> None:
    """And a run is over before the next is due."""
    spec = manifests()["CronJob"]["spec"]
    every = int(re.fullmatch(r"\*/(\d+) \* \* \* \*", spec["schedule"])[1])  # type: ignore[index]
    assert every * 3 == declare.MINUTES
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < every * 60


def test_the_pod_is_one_of_the_restricted_standard() -> None:
    """Which its namespace enforces."""
    found = manifests()
    assert found["Namespace"]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    spec = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {next(key for key in volume if key != "name") for volume in spec["volumes"]} <= {"configMap", "emptyDir"}


def test_the_script_is_one_for_the_images_python() -> None:
    """3.9, that of Amazon Linux 2023: no syntax since, and nothing to install."""
    tree = ast.parse((FOLDER / "declare.py").read_text(), feature_version=(3, 9))
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    assert {str(name).partition(".")[0] for name in imported} <= sys.stdlib_module_names
