"""From a folder of scans to a manifest: who is in it, by which device, and what is no scan."""
