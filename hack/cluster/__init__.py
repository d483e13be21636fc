"""A real single-node Kubernetes, built from its Go modules and run on this machine."""
