"""Small models that stand in for the real base models in the sandbox."""
