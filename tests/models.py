"""Models built on the spot: no hub, no weights to download."""

from pathlib import Path

from resources.models.model_folder import find_model


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


def build_short_sighted_model(folder: Path, tokens: int = 16, dimensions: int = 32) -> Path:
    """A transformer of random weights that reads so many tokens of a text, two of them marks."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    packaged = find_model("sentence-transformers/all-MiniLM-L6-v2").path
    tokenizer = AutoTokenizer.from_pretrained(str(packaged))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dimensions,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=dimensions,
        max_position_embeddings=tokens,
    )
    bare = folder / "bare"
    BertModel(config).save_pretrained(str(bare))
    tokenizer.save_pretrained(str(bare))
    reader = Transformer(str(bare), max_seq_length=tokens)
    made = folder / "short-sighted"
    SentenceTransformer(modules=[reader, Pooling(dimensions)], device="cpu").save(str(made))
    return made


def build_cross_encoder(
    folder: Path, *, labels: int = 1, tokens: int = 64, constant: bool = False
) -> Path:
    """A cross-encoder of random weights, which reads so many tokens of query and text together.

    Args:
        folder: Where it is put.
        labels: Numbers that it gives to each pair.
        tokens: That it has positions for.
        constant: Its head says the same of all texts.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    packaged = find_model("sentence-transformers/all-MiniLM-L6-v2").path
    tokenizer = AutoTokenizer.from_pretrained(str(packaged), model_max_length=tokens)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=tokens,
        num_labels=labels,
        initializer_range=0.5,  # scores that differ
    )
    model = BertForSequenceClassification(config)
    if constant:
        torch.nn.init.zeros_(model.classifier.weight)
        torch.nn.init.constant_(model.classifier.bias, 0.4)  # 0.5987 once a sigmoid is over it
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder
