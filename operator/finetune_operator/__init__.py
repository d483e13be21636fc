"""The controller: observes FineTuneJobs, decides in pure functions, acts at the edge. No torch."""
