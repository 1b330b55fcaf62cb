"""Models built on the spot: no hub, no weights to download."""

from pathlib import Path

from resources.embedders.model_folder import find_model


def build_static_model(folder: Path, dimensions: int = 64, seed: int = 0) -> Path:
    """A StaticEmbedding model: mean of random word vectors, real tokenizer, real files."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    packaged = find_model("sentence-transformers/all-MiniLM-L6-v2").path
    tokenizer = Tokenizer.from_file(str(packaged / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    torch.manual_seed(seed)
    static = StaticEmbedding(tokenizer, embedding_dim=dimensions)
    torch.nn.init.normal_(static.embedding.weight)
    SentenceTransformer(modules=[static], device="cpu").save(str(folder))
    return folder
