"""THE CONTROL API: decode, authorize, store, hint, encode. A handler holds no rule."""
