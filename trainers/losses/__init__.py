"""Losses: sum over classes, mean over the batch."""
