"""`embeddings serve`: a page to search with, and the same as JSON."""
