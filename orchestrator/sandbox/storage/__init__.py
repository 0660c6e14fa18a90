"""The Cloud Storage face."""
