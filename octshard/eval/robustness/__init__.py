"""`octshard eval robustness`: do frozen features follow the eye, or the device and the site that scanned it?

Each file holds one measure: neighbours, performance_drop, clusters, transfer, eye_pairs. All take `Scans`.
"""
