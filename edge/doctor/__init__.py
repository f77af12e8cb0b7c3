"""What is wrong with this device, and what mends it."""
