"""The network interface through which the ranks connect: gloo and NCCL are told, instead of guessing.

Left alone, gloo listens where the host's own name resolves to. In containers and on many Linux installations that is
127.0.0.1 or 127.0.1.1, and ranks on other hosts cannot connect. So the interface is the one that reaches the first
rank, and the loopback if all ranks run on one host. `GLOO_SOCKET_IFNAME` and `NCCL_SOCKET_IFNAME` overrule it.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import sys

from charloom.distributed.launch import Launch

_SIOCGIFCONF = 0x8912
_SIZE = 40  # of a struct ifreq on 64-bit Linux: a name of 16 bytes, then a sockaddr
_MOST_INTERFACES = 256
GLOO, NCCL = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"


def choose_interface(launch: Launch) -> str | None:
    """Set the environment for gloo and NCCL, unless the user has; the interface's name, None if it is not known."""
    found = os.environ.get(GLOO) or _best(launch)
    if found is not None:
        os.environ.setdefault(GLOO, found)
        if not launch.on_one_host:  # on one host NCCL copies through memory
            os.environ.setdefault(NCCL, found)
    return found


def _best(launch: Launch) -> str | None:
    names = {address: name for name, address in addresses()}
    if launch.on_one_host:
        return names.get("127.0.0.1")
    own = address_towards(launch.master)
    return None if own is None else names.get(own)


def addresses() -> list[tuple[str, str]]:
    """The name and IPv4 address of each interface that is up; empty where the system does not tell."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return []
    import fcntl

    buffer = array.array("B", bytes(_SIZE * _MOST_INTERFACES))
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
        used = struct.unpack("iL", fcntl.ioctl(asking.fileno(), _SIOCGIFCONF, request))[0]
        data = buffer.tobytes()[:used]
        rows = [data[i : i + _SIZE] for i in range(0, used, _SIZE)]
        return [(row[:16].split(b"\0")[0].decode(), socket.inet_ntoa(row[20:24])) for row in rows]
    return []


def address_towards(host: str) -> str | None:
    """This host's own address on the way to another; nothing is sent. None if there is no way or no such name."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((host, 9))
        return str(asking.getsockname()[0])
    return None
