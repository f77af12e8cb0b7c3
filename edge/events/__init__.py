"""From frame scores to anomaly events with pictures."""
