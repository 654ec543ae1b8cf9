"""Poolings: frames [B, T, D] and their mask to a vector [B, E]."""
