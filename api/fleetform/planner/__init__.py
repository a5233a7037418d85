"""WHAT SHOULD HAPPEN: plan, placement, tracks, rollout, routes, status. Pure functions over frozen structs; no I/O, no clock."""
