"""Take a fine-tuning job from a YAML spec to a published adapter."""

__version__ = "0.1.0"
