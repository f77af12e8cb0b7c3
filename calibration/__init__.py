"""What turns energies into alarms: cell statistics, tail probabilities, thresholds, parity."""
