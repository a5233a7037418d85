"""Made from openapi.yaml by `make generate`: types and calls. Not part of the interface."""
