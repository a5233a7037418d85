terraform import fleetform_quota.a10 acme/gpu-a10-1x
