"""What the fields of a row mean: a module for each format, and those that users add."""
