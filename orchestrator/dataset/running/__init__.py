"""Runs the checks over files, in parts, on all cores."""
