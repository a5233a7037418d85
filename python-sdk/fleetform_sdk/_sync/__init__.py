"""Generated from _async by `make generate`; do not edit."""
