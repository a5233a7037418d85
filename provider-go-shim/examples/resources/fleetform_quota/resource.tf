# References order the apply: an endpoint that takes its instance type from here is created after the quota.
resource "fleetform_quota" "a10" {
  project       = fleetform_project.acme.name
  instance_type = "gpu-a10-1x"
  max_replicas  = 20
}
