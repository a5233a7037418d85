# Two teams on one region: each has its own project, its own part of the storage, its own quota and its own key.
# The same endpoint name in both is no conflict: the key says whose is meant, and neither team can see the other's.

terraform {
  required_version = ">= 1.11"
  required_providers {
    fleetform = { source = "fleetform/fleetform" }
  }
}

provider "fleetform" {}

variable "models" {
  description = "Where the teams' models lie: s3://bucket/prefix or file:///folder, without a slash at the end."
  type        = string
}

variable "instance_type" {
  description = "What one replica takes."
  type        = string
  default     = "cpu-small"
}

variable "teams" {
  description = "Team name → the folder of its model below `models`, and how many replicas it may run."
  type        = map(object({ model = string, max_replicas = number }))
  default = {
    search  = { model = "search-v1", max_replicas = 2 }
    support = { model = "support-v1", max_replicas = 3 }
  }
}

resource "fleetform_project" "team" {
  for_each          = var.teams
  name              = each.key
  display_name      = "Team ${each.key}"
  artifact_prefixes = ["${var.models}/${each.value.model}/"]
}

resource "fleetform_quota" "team" {
  for_each      = var.teams
  project       = fleetform_project.team[each.key].name
  instance_type = var.instance_type
  max_replicas  = each.value.max_replicas
}

resource "fleetform_model_version" "team" {
  for_each  = var.teams
  project   = fleetform_project.team[each.key].name
  model     = "assistant"
  version   = "v1"
  artifact  = "${var.models}/${each.value.model}/"
  framework = "pytorch"
  runtime   = startswith(var.instance_type, "gpu-") ? "cuda12.6" : "cpu"

  # A version that leaves this file goes after the endpoint has left it.
  lifecycle { create_before_destroy = true }
}

resource "fleetform_endpoint" "team" {
  for_each      = var.teams
  project       = fleetform_project.team[each.key].name
  name          = "assistant"
  instance_type = fleetform_quota.team[each.key].instance_type
  variants      = { "v1" = { model_version = fleetform_model_version.team[each.key].ref } }
  timeouts      = { create = "20m", update = "20m", delete = "10m" }
}

resource "fleetform_token" "team" {
  for_each  = var.teams
  project   = fleetform_project.team[each.key].name
  name      = "app"
  roles     = ["inference.invoker"]
  endpoints = [fleetform_endpoint.team[each.key].name]
}

output "base_urls" {
  description = "The gateway of each team's endpoint; the team's key decides which endpoint `assistant` is."
  value       = { for team, endpoint in fleetform_endpoint.team : team => endpoint.url }
}
