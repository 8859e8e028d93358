"""The AI modules that OTTER ships, one folder each."""
