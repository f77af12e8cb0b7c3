"""Ablations: a plan of rows that each change one thing, run row by row, and their table."""
