"""The only package that calls ECR."""

from .batch_delete import delete_images as delete_images
from .client import Repository as Repository
from .client import disable_unsafe_retries as disable_unsafe_retries
from .client import limit_concurrency as limit_concurrency
from .client import read_responses_as_sent as read_responses_as_sent
from .lookup import look_up as look_up
from .manifests import read_manifests as read_manifests
