# Scheduled requests. EventBridge Scheduler fills in the schedule's ARN and the scheduled time, so that each run is a
# separate request.

locals {
  request_id = "<aws.scheduler.schedule-arn>/<aws.scheduler.scheduled-time>"

  schedules = {
    untagged-images = {
      expression = "cron(0 4 * * ? *)"
      request = {
        repositoryNames = ["preview/*"]
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 14
        }
        notify = "always"
        reason = "untagged for two weeks"
      }
    }

    old-previews = {
      expression = "cron(30 4 ? * SUN *)"
      request = {
        repositoryName = "preview/app"
        selection = {
          tagStatus             = "tagged"
          tagPatternList        = ["pr-*"]
          excludeTagPatternList = ["pr-*-keep"]
          countType             = "sinceImagePushed"
          countUnit             = "days"
          countNumber           = 30
          keepMostRecent        = 5
        }
        notify = "always"
        reason = "previews expire after a month"
      }
    }
  }
}

resource "aws_scheduler_schedule_group" "image_deletion" {
  name = "ecr-image-deletion"
}

resource "aws_scheduler_schedule" "request" {
  for_each = local.schedules

  name                = each.key
  group_name          = aws_scheduler_schedule_group.image_deletion.name
  schedule_expression = each.value.expression

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = local.request_queue_arn
    role_arn = aws_iam_role.scheduler.arn

    # jsonencode escapes < and >, and Scheduler would not see its placeholders.
    input = replace(replace(
      jsonencode(merge(each.value.request, { requestId = local.request_id })),
    "\\u003c", "<"), "\\u003e", ">")

    dead_letter_config {
      arn = local.dead_letter_queue_arn
    }

    retry_policy {
      maximum_event_age_in_seconds = 86400 # a day, the most there is
      maximum_retry_attempts       = 185
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name               = "ecr-image-deletion-schedules"
  assume_role_policy = data.aws_iam_policy_document.scheduler_trust.json
}

data "aws_iam_policy_document" "scheduler_trust" {
  statement {
    sid     = "SchedulesOfThisGroup"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_scheduler_schedule_group.image_deletion.arn]
    }
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "send-requests"
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "SendRequests"
    actions   = ["sqs:SendMessage"]
    resources = [local.request_queue_arn, local.dead_letter_queue_arn]
  }
}
