"""Links: what is asked of one direction, and the drivers that make it so."""
