"""The kinds of checks, a module each; `base` says what a kind is."""
