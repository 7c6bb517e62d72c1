"""One file to one sample: geometry, spacing, quality, resampling, in processes of their own.

`sample` is the line of stages; `scan_file` takes the same stages for one file without a release.
"""
