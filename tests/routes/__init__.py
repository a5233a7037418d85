"""The control API over a real PostgreSQL."""
