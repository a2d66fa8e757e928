"""The detail types of EventBridge events, of those that arrive and of those that are sent."""

DECLARATION = "ECR Images In Use"
"""Declares which images are in use."""
COMPLETED = "ECR Image Deletion Completed"
REJECTED = "ECR Image Deletion Rejected"
SUMMARIZED = "ECR Image Deletion Summarized"
RESULTS = frozenset({COMPLETED, REJECTED, SUMMARIZED})
"""They say what became of a request, and are none."""
