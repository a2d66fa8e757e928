variable "package_bucket" {
  description = "The bucket that `sam package` uploads to, in the region of the stack."
  type        = string
}

variable "packaged_template" {
  description = "The template that `sam package` writes."
  type        = string
  default     = "packaged.yaml"
}

variable "dry_run" {
  description = "Whether every request is a dry run."
  type        = bool
  default     = true
}

variable "notification_email" {
  description = "The address that gets notices and alarms. Empty for none."
  type        = string
  default     = ""
}
