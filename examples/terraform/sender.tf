# The policy of those who send requests, to be attached to their roles.

resource "aws_iam_policy" "sender" {
  name   = "ecr-image-deletion-sender"
  policy = data.aws_iam_policy_document.sender.json
}

data "aws_iam_policy_document" "sender" {
  statement {
    sid       = "SendRequests"
    actions   = ["sqs:SendMessage"]
    resources = [data.aws_sqs_queue.requests.arn]
  }
}

output "request_queue_url" {
  description = "Where requests are sent."
  value       = data.aws_sqs_queue.requests.url
}

output "sender_policy_arn" {
  description = "For the roles of those who send requests."
  value       = aws_iam_policy.sender.arn
}
