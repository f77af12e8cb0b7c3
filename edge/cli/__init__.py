"""The `vigil` command line: parse, call, print; no logic."""
