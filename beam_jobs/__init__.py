"""One thin Beam pipeline per command."""
