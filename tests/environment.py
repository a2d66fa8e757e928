"""The environment of the function in tests: what the template sets by its defaults, and nobody's credentials."""

VARIABLES = {
    "IDEMPOTENCY_TABLE": "steps",
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:notifications",
    "BULK_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/bulk",
    "REPOSITORY_PATTERN": "*",
    "PROTECTED_TAGS": "",
    "PROTECTED_REPOSITORIES": "",
    "MAX_IMAGES_PER_REQUEST": "1000",
    "MAX_PERCENT_OF_REPOSITORY": "50",
    "ALLOW_PERCENT_IN_REQUESTS": "true",
    "DRY_RUN": "false",
    "PROTECT_IN_USE": "",
    "USAGE_SOURCES": "",
    "USAGE_TABLE": "",
    "IN_USE_DAYS": "7",
    "MAX_CONCURRENT_CALLS": "13",
    "ALLOW_ARCHIVE": "false",
    "GRACE_PERIOD_DAYS": "0",
    "RESULT_EVENTS": "none",
    "RESULT_EVENT_BUS_NAME": "default",
    "CHAT_NOTICES": "false",
    "POWERTOOLS_SERVICE_NAME": "ecr-image-deletion",
}
ENVIRONMENT = {
    **VARIABLES,
    "POWERTOOLS_METRICS_NAMESPACE": "EcrImageDeletion",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
READER_VARIABLES = {
    "USAGE_TABLE": "usage",
    "PROTECT_IN_USE": "ecs,lambda,inspector",
    "USAGE_SOURCES": "",
    "IN_USE_DAYS": "7",
    "USAGE_REFRESH_MINUTES": "60",
    "TASK_DEFINITION_REVISIONS": "3",
}
"""The same of the function that reads what is in use, where all sources are read."""
