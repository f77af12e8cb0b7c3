"""Does a preset travel? The same recipe trained and measured at places that differ.

A place is one rendered scene; nothing here knows how a scene is painted or a stream is trained.
"""
