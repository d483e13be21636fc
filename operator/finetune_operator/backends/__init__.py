"""The two places where a job can run; each acts for the reconciler and decides nothing."""
