"""Rendered fixed-camera scenes with known ground truth."""
