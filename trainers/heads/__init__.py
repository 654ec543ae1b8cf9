"""Classifier heads: a vector [B, D] to probabilities [B, C]. Importing the package registers them."""

from trainers.heads import logistic, moe

__all__ = ["logistic", "moe"]
