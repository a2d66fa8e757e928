"""The least that the function must be told, as the template tells it by its defaults."""

VARIABLES = {
    "IDEMPOTENCY_TABLE": "steps",
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:failures",
    "MAX_CONCURRENT_CALLS": "12",
    "MAX_IMAGES_PER_REQUEST": "1000",
    "PROTECTED_TAGS": "",
    "PROTECTED_REPOSITORIES": "",
    "MAX_PERCENT_OF_REPOSITORY": "50",
    "REPOSITORY_PATTERN": "*",
    "REQUEST_QUEUE_URL": "https://queue",
    "DRY_RUN": "false",
}
