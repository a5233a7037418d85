"""WHAT ENVOY IS TOLD: the snapshot (pure, checks itself), Envoy resources, the ADS server, the activator."""
