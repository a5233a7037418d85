terraform {
  required_version = ">= 1.11"
  required_providers {
    fleetform = { source = "fleetform/fleetform" }
  }
}

# base_url and token come from FLEETFORM_BASE_URL and FLEETFORM_TOKEN.
provider "fleetform" {
  project = "acme"
}
