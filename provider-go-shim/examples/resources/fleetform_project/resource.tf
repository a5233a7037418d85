resource "fleetform_project" "acme" {
  name              = "acme"
  display_name      = "Acme"
  artifact_prefixes = ["s3://acme-models/"]
}
