# A version is immutable. Another one is another resource; the endpoint's variants say which of them serve. With create_before_destroy
# a version that leaves the configuration is deleted after the endpoint has moved off it.
resource "fleetform_model_version" "v1_4" {
  project   = fleetform_project.acme.name
  model     = "acme-summarizer"
  version   = "v1.4"
  artifact  = "s3://acme-models/summarizer-v1.4/"
  framework = "pytorch"
  runtime   = "cuda12.6"

  lifecycle { create_before_destroy = true }
}

resource "fleetform_model_version" "v1_5" {
  project   = fleetform_project.acme.name
  model     = "acme-summarizer"
  version   = "v1.5"
  artifact  = "s3://acme-models/summarizer-v1.5/"
  framework = "pytorch"
  runtime   = "cuda12.6"
  parent    = fleetform_model_version.v1_4.ref

  lifecycle { create_before_destroy = true }
}
