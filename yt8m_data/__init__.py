"""Kernels on NumPy, Arrow and FAISS for YouTube-8M shards; imports neither Beam nor TensorFlow."""

__version__ = "0.1.0"
