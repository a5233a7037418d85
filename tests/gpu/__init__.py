"""What only a machine with an NVIDIA device can show. These tests need neither PostgreSQL nor Envoy."""
