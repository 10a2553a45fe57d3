"""The network written out from the published equations, for one row, one time step and one gate at a time.

Plain float64 arithmetic on vectors, so that autograd can differentiate it; it shares no code with the engine.
"""

import torch

EPSILON = 1e-6  # inside RMSNorm


def sigmoid(a):
    return 1 / (1 + torch.exp(-a))


def tanh(a):
    return (torch.exp(a) - torch.exp(-a)) / (torch.exp(a) + torch.exp(-a))


def gate(matrix, index, H):
    return matrix[index * H : (index + 1) * H]


def elman(config, p, x, s):
    a = p["w_ih"] @ x + p["w_hh"] @ s["h"] + p["bias"]
    return {"h": {"tanh": tanh, "sigmoid": sigmoid, "relu": lambda b: b * (b > 0)}[config.activation](a)}


def lstm(_config, p, x, s):
    H = len(s["h"])
    a_i, a_f, a_g, a_o = (
        gate(p["w_ih"], k, H) @ x + gate(p["w_hh"], k, H) @ s["h"] + gate(p["bias"], k, H) for k in range(4)
    )
    c = sigmoid(a_f) * s["c"] + sigmoid(a_i) * tanh(a_g)
    return {"h": sigmoid(a_o) * tanh(c), "c": c}


def gru(_config, p, x, s):
    H, h = len(s["h"]), s["h"]
    r = sigmoid(gate(p["w_ih"], 0, H) @ x + gate(p["w_hh"], 0, H) @ h + gate(p["bias"], 0, H))
    z = sigmoid(gate(p["w_ih"], 1, H) @ x + gate(p["w_hh"], 1, H) @ h + gate(p["bias"], 1, H))
    inner = gate(p["w_hh"], 2, H) @ h + p["bias_hn"]
    n = tanh(gate(p["w_ih"], 2, H) @ x + gate(p["bias"], 2, H) + r * inner)
    return {"h": (1 - z) * n + z * h}


def mingru(_config, p, x, s):
    H = len(s["h"])
    z = sigmoid(gate(p["w_ih"], 0, H) @ x + gate(p["bias"], 0, H))
    a = gate(p["w_ih"], 1, H) @ x + gate(p["bias"], 1, H)
    g = torch.stack([b + 0.5 if b >= 0 else sigmoid(b) for b in a])
    return {"h": (1 - z) * s["h"] + z * g}


CELLS = {"elman": elman, "lstm": lstm, "gru": gru, "mingru": mingru}


def rms_norm(x, gain):
    return gain * x / torch.sqrt((x * x).sum() / len(x) + EPSILON)


def part(params, prefix):
    return {name[len(prefix) :]: p for name, p in params.items() if name.startswith(prefix)}


def residual_step(config, p, x, s):
    """Run one residual block at one position; `s["conv"]` holds the K − 1 inputs before it."""
    taps = [*s["conv"], rms_norm(x, p["norm"])]
    u = p["conv.bias"] + sum(p["conv.weight"][:, k] * tap for k, tap in enumerate(taps))
    after = CELLS[config.cell](config, part(p, "cell."), u, s)
    x = x + p["proj"] @ after["h"]
    if "mlp.up" in p:
        v = rms_norm(x, p["mlp_norm"])
        a = p["mlp.gate"] @ v
        x = x + p["mlp.down"] @ (a * sigmoid(a) * (p["mlp.up"] @ v))
    return x, {**after, "conv": torch.stack(taps[1:]) if len(taps) > 1 else s["conv"]}


def step(config, params, char_id, state):
    """Read one character of one row: (logits, state)."""
    vocab_size = len(params["out.bias"])
    if "embedding" in params:
        x = params["embedding"][char_id]
    else:
        x = torch.eye(vocab_size, dtype=torch.float64)[char_id]
    after = []
    for i in range(config.num_layers):
        p = part(params, f"layers.{i}.")
        if config.block == "residual":
            x, s = residual_step(config, p, x, state[i])
        else:
            s = CELLS[config.cell](config, part(p, "cell."), x, state[i])
            x = s["h"]
        after.append(s)
    if config.block == "residual":
        x = rms_norm(x, params["norm"])
    out = params["embedding"] if config.tie_embeddings else params["out.weight"]
    return out @ x + params["out.bias"], after


def forward(config, params, ids, state, resets=None):
    """Compute logits (B, T, V) and the state after the last character, rows and steps in plain loops."""
    logits, after = [], []
    for b, row in enumerate(ids.tolist()):
        s = [{key: x[b] for key, x in layer.items()} for layer in state]
        outputs = []
        for t, char_id in enumerate(row):
            if resets is not None and resets[b, t]:
                s = [{key: torch.zeros_like(x) for key, x in layer.items()} for layer in s]
            y, s = step(config, params, char_id, s)
            outputs.append(y)
        logits.append(torch.stack(outputs))
        after.append(s)
    stacked = [
        {key: torch.stack([rows[i][key] for rows in after]) for key in after[0][i]}
        for i in range(config.num_layers)
    ]
    return torch.stack(logits), stacked
