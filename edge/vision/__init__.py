"""Arrays in, arrays out: flow, dynamic flow, gate, patches. No state but ring buffers."""
