"""Background load: senders and sinks."""
