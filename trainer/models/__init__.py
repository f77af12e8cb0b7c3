"""Networks as plain torch modules; they know no files, no config, no logging."""
