"""tempprop: video clips from image diffusion models, by temporal propagation in batches."""

__version__ = "0.1.0"
