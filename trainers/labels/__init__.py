"""Label layers: probabilities [B, C] to probabilities [B, C]."""
