"""The release as it is delivered: its manifest, its device ZIPs, its unpacked files."""
