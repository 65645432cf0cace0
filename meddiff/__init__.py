"""MedDiff-FM: a 3-D diffusion foundation model for CT, and the pipeline around it."""

__version__ = "0.2.0"
