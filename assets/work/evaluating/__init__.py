"""How good searches are: of a pipeline as it stands, and of what it might be."""
