"""Several processes that train one model: who they are, what they say to each other, and what goes wrong.

`torchrun` starts the processes, called ranks, and tells each its number in environment variables (`launch`). They
connect to each other (`ranks`), over the network interface that reaches the first of them (`interfaces`), and
`checks` compares their machines. The division of a training among them is in `training.ranks`, the sum of their
gradients in `engines.torch.lane_sum`.

Only `launch` is imported here, so that a training in one process does not load torch.distributed.
"""

from charloom.distributed.launch import Launch, read_launch

__all__ = ["Launch", "read_launch"]
