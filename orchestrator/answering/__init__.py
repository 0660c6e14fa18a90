"""Answers from endpoints that speak OpenAI's protocol: asked once, kept, and written in order."""
