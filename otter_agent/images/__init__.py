"""Makes what modules run: docker images, or environments of the process runtime."""
