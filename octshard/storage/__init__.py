"""Bytes at URLs: local disks, gs://, s3://, memory://."""
