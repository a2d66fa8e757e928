# For those who send requests: where to, and the policy that lets them, to be attached to their roles.

output "request_queue_url" {
  description = "Where requests are sent."
  value       = aws_cloudformation_stack.image_deletion.outputs["RequestQueueUrl"]
}

output "sender_policy_arn" {
  description = "For the roles of those who send requests."
  value       = aws_cloudformation_stack.image_deletion.outputs["SenderPolicyArn"]
}
