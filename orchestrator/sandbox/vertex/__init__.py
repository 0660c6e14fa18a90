"""The Vertex AI tuning face."""
