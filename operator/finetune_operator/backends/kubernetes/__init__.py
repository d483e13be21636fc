"""The in-cluster backend: child Jobs, their pods, and what belongs to them."""
