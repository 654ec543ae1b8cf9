"""Segment localisation (Huang 2019): where in a video a class shows, learned from the rated segments of the 2019 records."""
