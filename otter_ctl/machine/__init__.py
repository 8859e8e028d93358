"""Makes machines OTTER machines, looks at them, and reverts that: `otterctl machine`."""
