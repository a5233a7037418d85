"""WHERE MACHINES ARE: the driver protocol, `local` (the host process here) and `fake` (pretended hosts; ships)."""
