"""``charloom serve``: answer requests over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.flags import option, path_option, verb
from charloom.cli.output import Show
from charloom.errors import ConfigError, missing_extra

if TYPE_CHECKING:
    from charloom.serve import Limits

KEY_VARIABLE = "CHARLOOM_API_KEY"

Models = Annotated[str, path_option("run folders or model files")]
Host = Annotated[
    str, option("address to listen on; any but this machine's own requires a key", show_default=True)
]
Port = Annotated[int, option("port; 0 = any free one", show_default=True, metavar="N")]
ApiKey = Annotated[
    str | None, option(f"what clients send as their API key [default: ${KEY_VARIABLE}]", metavar="KEY")
]
AllowHost = Annotated[
    list[str] | None,
    option(
        "a name under which browsers reach this server, such as a proxy's; may be repeated", metavar="NAME"
    ),
]
Precision = Annotated[
    Literal["float32", "int8"], option("int8 = 8-bit matrices, twice as fast", show_default=True)
]
Parallel = Annotated[int, option("texts written together", show_default=True, metavar="N")]
Queue = Annotated[
    int, option("further texts that wait; beyond, the answer is 429", show_default=True, metavar="N")
]
Deadline = Annotated[float, option("seconds until a request is given up", show_default=True, metavar="S")]
MaxTokens = Annotated[int, option("most characters of a text", show_default=True, metavar="N")]
MaxPrompt = Annotated[int, option("most characters of a prompt", show_default=True, metavar="N")]


def serve(
    show: Show,
    /,
    *models: Models,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key: ApiKey = None,
    allow_host: AllowHost = None,
    precision: Precision = "float32",
    parallel: Parallel = 64,
    queue: Queue = 64,
    deadline: Deadline = 300.0,
    max_tokens: MaxTokens = 16_384,
    max_prompt_chars: MaxPrompt = 65_536,
) -> None:
    """Serve models over HTTP.

    Clients of OpenAI's completions interface work unchanged: set their base URL to http://127.0.0.1:8000/v1. A token is
    a character. All requests are decoded together; with a seed, a text does not depend on the others.

    Ctrl-C or SIGTERM ends the server: running texts have three seconds to end. Requests are logged on standard error
    without their text.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise missing_extra("starlette or uvicorn", "serve", "charloom serve")
    from charloom.serve import load_models
    from charloom.serve.server import Address, run_server

    limits = _limits(
        parallel=parallel,
        queue=queue,
        deadline_s=deadline,
        max_tokens=max_tokens,
        max_prompt_chars=max_prompt_chars,
    )
    key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE) or None
    if key == "" or (key is not None and not key.isascii()):
        what, why = "the API key is empty or not ASCII", "clients send it in an HTTP header"
        raise ConfigError(what, why=why, fix="choose another, or leave out --api-key")
    if not models:
        raise ConfigError(
            "no model is named", why="there is nothing to serve", fix="charloom serve runs/NAME"
        )
    served = load_models(models, precision=precision, limits=limits)
    address = Address(host=host, port=port, key=key, names=tuple(allow_host or ()))
    _log_to_stderr(show)

    def say(url: str) -> None:
        show.line(f"serving {', '.join(served)} at {url}")
        show.object({"url": url, "models": list(served)})
        sys.stdout.flush()

    with show.reporting():
        run_server(served, address, limits, on_ready=say)


def _limits(**given: Any) -> Limits:
    from charloom.serve import Limits

    for name, value in given.items():
        if not value >= (0 if name == "queue" else 1):
            flag = f"--{name.removesuffix('_s').replace('_', '-')}"
            least = 0 if name == "queue" else 1
            what, why = f"{flag} is {value}", f"it must be at least {least}"
            raise ConfigError(what, why=why, fix=f"set {flag} {least} or more, or leave it out")
    return Limits(**given)


def _log_to_stderr(show: Show) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn").setLevel(
        logging.CRITICAL
    )  # faults are logged by the guard, refusals are counted
    logging.getLogger("charloom.serve").setLevel(logging.WARNING if show.quiet else logging.INFO)


app = verb(
    computes=True,
    usage="serve MODEL... [--port N] [options]",
    examples="""
        charloom serve runs/tales
        charloom serve runs/tales runs/names --port 8123 --precision int8
        charloom serve runs/tales --host 0.0.0.0 --api-key SECRET
    """,
)(serve)
