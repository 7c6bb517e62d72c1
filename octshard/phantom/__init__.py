"""Made-up eyes with known layers, lesions and labels, and their scans by four devices."""
