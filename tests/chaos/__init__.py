"""Random faults over machines of a lab: `python -m tests.chaos`, and fewer rounds in CI."""
