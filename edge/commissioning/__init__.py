"""Learning on site: what is normal in front of this camera, and the threshold that follows."""
