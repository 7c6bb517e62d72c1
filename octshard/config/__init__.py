"""Every setting, its unit, bounds and default."""
