"""ECR image deletion: what `aws ecr batch-delete-image` does for a person at a prompt, for systems."""
