"""The workstation commands of `vigil`."""
