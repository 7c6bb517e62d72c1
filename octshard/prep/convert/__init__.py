"""One file to one sample: geometry, spacing, quality, resampling, in processes of their own."""
