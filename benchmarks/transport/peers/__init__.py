"""One file per way to exchange messages; see `benchmarks.transport.peer`."""
