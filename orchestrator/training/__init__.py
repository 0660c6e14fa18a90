"""Scripts that run inside a job; they import nothing else of this package."""
