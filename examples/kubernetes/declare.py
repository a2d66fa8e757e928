"""Declares all images that a Kubernetes cluster uses, so that no request to the stack can delete them.

It runs in the image of the AWS CLI, on that image's Python 3.9, with the standard library and `aws` alone. Whatever
fails ends the run before anything is sent: from half a list, the stack would conclude that the rest is not in use.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

Json = dict[str, Any]
Get = Callable[[str], Json]
"""Asks the API server for a path; raises HTTPError or another OSError if it does not answer with all of it."""

MINUTES = 30
"""How long a declaration holds, unless the environment says otherwise: three runs, so that two may fail."""
MAX_BYTES = 900_000  # SQS takes a message of 1 MiB, EventBridge an event of 1 MB, quoted and with an envelope
PAGE = 250  # objects, of 20 KB or so each
RESTARTS = 5
GONE = 410

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the token of the pod's service account, and the certificate of its API server."""


def spec_images(spec: Json) -> Iterator[str]:
    """Returns the images that the spec of a pod names, as it names them: most by tag."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            yield container.get("image") or ""  # a template may leave it to whoever creates the pod
    for volume in spec.get("volumes") or []:
        yield (volume.get("image") or {}).get("reference") or ""


def pod_images(pod: Json) -> Iterator[str]:
    """Returns the images of a pod, and those that it runs by their digests: its tags may have moved since."""
    yield from spec_images(pod["spec"])
    named = {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        named.update({container["name"]: container["image"] for container in pod["spec"].get(kind) or []})
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or []:
            # docker-pullable://repository@sha256:…, or the same without a scheme. A bare sha256:… is the id of the
            # image's configuration, by which no registry knows it: what the spec names must do.
            address = (container.get("imageID") or "").rpartition("://")[2]
            digest = address.partition("@")[2]
            if digest:
                yield address
                # A node that has the same image from several repositories names any one of them here.
                yield f"{repository(named.get(container['name'], address))}@{digest}"


def repository(image: str) -> str:
    """Returns an image's address without its tag and its digest. A colon before the last slash is that of a port."""
    path, slash, name = image.partition("@")[0].rpartition("/")
    return path + slash + name.partition(":")[0]


def template_images(owner: Json) -> Iterator[str]:
    """Returns the images of the pods that an object makes, or would make if it were scaled up again."""
    return spec_images(owner["spec"]["template"]["spec"])


def job_images(job: Json) -> Iterator[str]:
    """Returns the images of a job that may still start pods."""
    conditions = (job.get("status") or {}).get("conditions") or []
    finished = any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)
    return iter(()) if finished else template_images(job)


def revision_images(revision: Json) -> Iterator[str]:
    """Returns the images of a former StatefulSet or DaemonSet, which `kubectl rollout undo` would pull again."""
    try:
        return template_images(revision["data"])
    except (KeyError, TypeError):  # of another controller, which may keep there what it likes
        return iter(())


LISTS: dict[str, Callable[[Json], Iterator[str]]] = {
    "/api/v1/pods": pod_images,
    "/api/v1/replicationcontrollers": template_images,
    "/apis/apps/v1/deployments": template_images,
    "/apis/apps/v1/replicasets": template_images,  # all of them: those without replicas are there for a rollback
    "/apis/apps/v1/statefulsets": template_images,
    "/apis/apps/v1/daemonsets": template_images,
    "/apis/apps/v1/controllerrevisions": revision_images,
    "/apis/batch/v1/jobs": job_images,
    "/apis/batch/v1/cronjobs": lambda cron_job: template_images(cron_job["spec"]["jobTemplate"]),
}
"""What is listed, of all namespaces, and how the images of each object are found. The ClusterRole grants just this."""


def objects(get: Get, path: str) -> Iterator[Json]:
    """Returns all objects of a list, page by page, as they were when the first page was read."""
    query: dict[str, Any] = {"limit": PAGE}
    while True:
        page = get(f"{path}?{urlencode(query)}")
        yield from page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return
        query["continue"] = token


def listed_images(get: Get, path: str) -> set[str]:
    """Returns the images of all objects of a list."""
    for _ in range(RESTARTS):
        try:
            return {image for each in objects(get, path) for image in LISTS[path](each)}
        except HTTPError as error:
            # The API server has forgotten the state that the pages before showed: the list begins again, and what
            # was found so far is dropped.
            if error.code != GONE:
                raise
    raise SystemExit(f"{path} could not be listed to its end in {RESTARTS} attempts; nothing was declared")


def cluster_images(get: Get) -> set[str]:
    """Returns all images that the cluster uses, or may start again, by tags and by digests."""
    return {image for path in LISTS for image in listed_images(get, path)}


def declaration(source: str, images: set[str], began: float) -> str:
    """Returns the JSON that declares these images to be in use from when they began to be listed."""
    addresses = sorted(images - {""})
    if not addresses:  # a cluster that runs this uses at least the image that it runs in
        raise SystemExit("no image was found, so something is wrong; nothing was declared")
    minutes = int(os.environ.get("MINUTES", MINUTES))
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began + minutes * 60))
    text = json.dumps({"source": source, "imagesInUse": addresses, "expiresAt": expires})
    if len(text) > MAX_BYTES:
        raise SystemExit(
            f"the declaration of {len(addresses)} images has {len(text)} bytes, and a message may have {MAX_BYTES}; "
            "nothing was declared: see the limits in the README"
        )
    return text


def send(text: str) -> None:
    """Puts a declaration on the request queue or, if no queue is set, on an event bus."""
    if os.environ.get("QUEUE_URL"):
        aws("sqs", "send-message", "--queue-url", os.environ["QUEUE_URL"], "--message-body", given=text)
        return
    entry = {
        "Source": "ecr-images-in-use",
        "DetailType": "ECR Images In Use",
        "Detail": text,
        "EventBusName": os.environ["EVENT_BUS"],
    }
    answer = json.loads(aws("events", "put-events", "--output", "json", "--entries", given=json.dumps([entry])))
    if answer["FailedEntryCount"]:  # which `aws` takes for success
        raise SystemExit(f"EventBridge did not take the declaration: {answer['Entries']}")


def aws(*arguments: str, given: str) -> str:
    """Runs `aws`, with the value of the last option on its standard input: it is too long for a command line."""
    # The region is that of the queue or bus. AWS_REGION may be set to the cluster's, by EKS.
    command = ["aws", "--region", os.environ["REGION"], *arguments, "file:///dev/stdin"]
    return subprocess.run(  # noqa: S603  # its arguments are the settings of whoever applied this
        command, input=given, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def api_server() -> Get:
    """Returns a function that asks the API server of the cluster that this runs in."""
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    token = (ACCOUNT / "token").read_text().strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def get(path: str) -> Json:
        headers = {"Authorization": f"Bearer {token}"}
        request = Request(f"{server}{path}", headers=headers)  # noqa: S310  # https, see above
        with urlopen(request, timeout=60, context=trusted) as response:  # noqa: S310  # ditto
            answer: Json = json.load(response)
            return answer

    return get


def main() -> None:
    """Declares the images of the cluster; with "-" as its argument, those that stand on standard input, one a line."""
    began = time.time()
    given = sys.argv[1:] == ["-"]
    images = set(sys.stdin.read().split()) if given else cluster_images(api_server())
    text = declaration(os.environ["SOURCE"], images, began)
    send(text)
    parsed = json.loads(text)
    print(f"{parsed['source']} uses {len(parsed['imagesInUse'])} images, until {parsed['expiresAt']}")  # noqa: T201


if __name__ == "__main__":
    main()
