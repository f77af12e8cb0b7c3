"""The runtime: capture, vision, scoring, events, publishing and the `vigil` command."""
