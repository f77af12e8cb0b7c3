"""Backends that run a network file: one Protocol, one module per library."""
