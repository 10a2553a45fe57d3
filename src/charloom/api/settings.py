"""The keywords of functions that take settings, as types for editors and type checkers.

Written by docs/generate.py: edit the declarations in `charloom.config`, not this module.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class TrainSettings(TypedDict, total=False):
    """Settings of charloom.train and charloom.explain."""

    encoding: str | None
    column: str | None
    unit: Literal["char", "byte"]
    clean_bytes: bool
    normalization: Literal["nfc", "nfd", "nfkc", "nfkd", "none"]
    replace_chars: str | None
    min_count: int
    vocab_from: Literal["all", "train"]
    documents: str
    keep_separator: Literal["no", "begin", "end"]
    val_fraction: float
    val_count: int | None
    split: Literal["contiguous", "random"]
    split_seed: int
    take_chars: int | None
    cell: Literal["elman", "lstm", "gru", "mingru"]
    activation: Literal["tanh", "sigmoid", "relu"]
    hidden_size: int
    num_layers: int
    embedding_size: int | None
    block: Literal["plain", "residual"]
    conv_width: int
    expansion: float
    mlp_ratio: float
    dropout_char: float
    dropout_input: float
    dropout_layer: float
    dropout_branch: float
    dropout_recurrent: float
    dropout_output: float
    tie_embeddings: bool
    forget_bias: float
    init: Literal["orthogonal", "pytorch", "normal", "uniform"]
    init_scale: float | None
    init_out: Literal["same", "pytorch", "normal", "uniform"]
    init_out_scale: float | None
    batching: Literal["stream", "random", "sliding"]
    stride: int
    objective: Literal["every", "last"]
    loss: Literal["mean", "sum"]
    batch_size: int
    bptt_length: int
    optimizer: Literal["adamw", "adam", "sgd", "adagrad", "rmsprop", "muon"]
    learning_rate: float
    beta1: float
    beta2: float
    momentum: float
    epsilon: float
    epsilon_inside_root: bool
    weight_decay: float
    schedule: Literal["constant", "cosine", "wsd"]
    warmup: int
    final_lr_fraction: float
    decay_fraction: float
    clip_norm: float | None
    clip_value: float | None
    average_decay: float | None
    epochs: float | None
    steps: int | None
    minutes: float | None
    max_epochs: float | None
    plan: str | None
    patience: int | None
    validate_every: int | None
    sample_every: int | None
    watch: int | None
    stream_offset: Literal["fixed", "random"]
    order: Literal["sequential", "shuffled"]
    drop_last: bool
    wrap_targets: bool
    state_reset: Literal["epoch", "wrap"]
    state_reset_probability: float
    initial_state: Literal["zeros", "normal"]
    initial_state_scale: float
    teacher_weight: float
    written_chars: int
    freeze: str | None
    bias: Literal["single", "pair"]
    seed: int
    device: str
    engine: Literal["auto", "torch", "scratch", "fused"]
    precision: Literal["float32", "float64", "bfloat16"]
    threads: int | None
    lane_groups: int | None
    sync_every: int | None
    replicas: int | None
    peer_timeout_s: float


class SampleSettings(TypedDict, total=False):
    """Settings of Model.sample, stream, generate and session."""

    length: int
    count: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    repetition_window: int
    seed: int | None
    unknown: Literal["error", "skip", "similar", "replace"]
    batch: int
    engine: Literal["auto", "torch", "scratch", "fused"]
    precision: Literal["float32", "float64", "int8"]
    threads: int | None
    portable: bool


class LearningSettings(TypedDict, total=False):
    """Settings of Model.evaluate with protocol dynamic."""

    bptt_length: int
    optimizer: Literal["adamw", "adam", "sgd", "adagrad", "rmsprop", "muon"]
    learning_rate: float
    beta1: float
    beta2: float
    momentum: float
    epsilon: float
    epsilon_inside_root: bool
    weight_decay: float
    clip_norm: float | None
    clip_value: float | None
    freeze: str | None
