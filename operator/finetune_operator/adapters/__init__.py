"""Thin clients of outside systems. Errors are translated here, once, into core.errors."""
