"""Tests in booted Debians, as an administrator has them: packages, units, reboots."""
