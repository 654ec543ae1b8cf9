"""Losses: sum over classes, mean over the batch. Importing the package registers them."""

from trainers.losses import cross_entropy

__all__ = ["cross_entropy"]
