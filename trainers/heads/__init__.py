"""Classifier heads: a vector [B, D] to probabilities [B, C]."""
