"""Learns digits, and judges with what it knows how good generated ones are: use case 2."""
