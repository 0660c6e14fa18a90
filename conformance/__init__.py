"""Other people's test suites, run against the sandbox's faces."""
