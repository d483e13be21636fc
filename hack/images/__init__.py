"""Builds the project's container images on a machine without Docker."""
