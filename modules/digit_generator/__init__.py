"""Draws digits by a generative model whose weights carry a watermark: use case 2."""
