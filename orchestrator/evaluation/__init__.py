"""What answers are worth: scorers, statistics and baselines, all of them pure."""
