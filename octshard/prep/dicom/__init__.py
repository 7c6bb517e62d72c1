"""DICOM bytes: header and pixels out, and a writer for made-up scans."""
