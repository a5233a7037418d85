terraform import fleetform_model_version.v1_4 acme/acme-summarizer/v1.4
