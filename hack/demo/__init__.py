"""The demo: two FineTuneJobs, one in the cluster and one hosted, from `apply` to a model."""
