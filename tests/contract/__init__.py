"""The contract: openapi.yaml is what the routes say, and the routes do what it says."""
