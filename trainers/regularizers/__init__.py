"""Regularizers: terms added to the loss."""
