"""From energies to one map and one number."""
