"""What is flashed: the bundle format, its integrity, and the backends that run an encoder.

The lowest room of the house: it imports none of ours.
"""
