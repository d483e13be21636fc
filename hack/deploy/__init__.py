"""Installs the operator and what the demo and the tests need beside it, with the real Helm."""
