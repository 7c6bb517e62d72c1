"""DICOM bytes: header and pixels out, and a writer for phantoms and tests."""
