"""The streaming protocol, its metrics, baselines and the report."""
