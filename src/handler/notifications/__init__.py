"""All messages to people and systems; the only package that calls SNS and EventBridge."""

from .notices import Notice as Notice
from .notices import rejection_notice as rejection_notice
from .notices import report_notice as report_notice
from .topic import publish as publish
