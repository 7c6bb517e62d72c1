"""Made-up eyes with known layers, lesions and labels, and what four devices make of them."""
