"""Getting events to the broker, and never losing one."""
