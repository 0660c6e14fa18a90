"""From a file of rows to a report on them and to the splits that are trained on. Pure."""
