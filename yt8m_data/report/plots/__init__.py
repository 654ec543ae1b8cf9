"""The plots of the report, a file for each kind; `canvas` turns what they paint into SVG, PNG and CSV."""
