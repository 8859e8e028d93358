"""What OTTER costs, beside the peers and the limit, measured in one run: see `__main__`."""
