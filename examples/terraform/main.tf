# The stack, from the template that `sam package` writes, and everything that Terraform adds to it.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

# The template is larger than CloudFormation takes in a call, so it goes through the bucket. A new package has a new
# name, which is what makes CloudFormation update the stack.
resource "aws_s3_object" "template" {
  bucket = var.package_bucket
  key    = "ecr-image-deletion/${filemd5(var.packaged_template)}.template.yaml"
  source = var.packaged_template
}

resource "aws_cloudformation_stack" "image_deletion" {
  name         = "ecr-image-deletion"
  template_url = "https://${data.aws_s3_bucket.packages.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"] # it has roles, and SAM's transform

  parameters = {
    RepositoryPattern      = "preview/*"
    ProtectedTags          = "latest,release-*"
    MaxPercentOfRepository = 50
    DryRun                 = var.dry_run
    NotificationEmail      = var.notification_email
  }
}

data "aws_s3_bucket" "packages" {
  bucket = var.package_bucket
}

data "aws_caller_identity" "current" {}

locals {
  request_queue_arn     = aws_cloudformation_stack.image_deletion.outputs["RequestQueueArn"]
  dead_letter_queue_arn = aws_cloudformation_stack.image_deletion.outputs["DeadLetterQueueArn"]
}
