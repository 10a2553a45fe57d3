"""The networks that the tests of exports use beside those of the engines."""

from charloom.config import ModelConfig

MORE = {
    "tied": ModelConfig(cell="gru", hidden_size=5, embedding_size=5, tie_embeddings=True),
    "tied-residual": ModelConfig(cell="lstm", hidden_size=5, block="residual", tie_embeddings=True),
    "no-mlp": ModelConfig(cell="elman", hidden_size=5, block="residual", mlp_ratio=0.0),
    "one-tap": ModelConfig(cell="mingru", hidden_size=5, block="residual", conv_width=1),
}
