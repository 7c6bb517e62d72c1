"""Device ZIPs -> DICOM objects -> shards and tables. Never imports train or eval."""
