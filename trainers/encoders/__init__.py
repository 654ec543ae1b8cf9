"""Encoders: a vector [B, D] to a vector [B, E], between pooling and head."""
