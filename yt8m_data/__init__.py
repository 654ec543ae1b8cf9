"""Kernels on NumPy and Arrow for YouTube-8M shards; imports neither Beam nor TensorFlow."""

__version__ = "0.1.0"
