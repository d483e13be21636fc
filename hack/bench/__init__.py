"""The benchmarks of `make bench`: figures for docs/benchmarks/, no tests and no limits."""
