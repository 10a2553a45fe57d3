"""A training on several ranks: what belongs to which.

Rank 0 runs the loop of `training.loop` as if it were alone: it decides when to validate, to save and to stop, by its
own clock, and only it writes. Its learner (`LeadingLearner`) tells the others each order before it takes part in it:

    begin    the settings; each answers with what must be equal: the corpus, the versions, the platform
    agree    all are equal
    load     weights, moments and the state of all lanes: from the start, from a checkpoint, or to make ranks equal
    advance  take some updates; the ranks exchange gradients or weights inside
    collect  the state of each rank's lanes, or its replicas' tensors, for a checkpoint
    end      before the final report

The other ranks (`follow`) need the text and nothing else: no run folder, no checkpoint. A checkpoint holds all lanes,
so a run continues on another number of ranks, or on another machine.

After each range of updates, the ranks compare a checksum of their weights. Processors of different kinds may round a
norm differently; ranks that differ are then loaded with rank 0's weights and moments.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, TrainConfig, from_dict, to_dict
from charloom.distributed import Launch
from charloom.engines import EngineModel, Learner, Metrics, State, load_engine
from charloom.errors import ConfigError, DivergedError
from charloom.parameters import initial_parameters
from charloom.runs import Run
from charloom.schedule import Knots
from charloom.text.batching import Plan
from charloom.text.corpus import Corpus

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Arrays, Message, Ranks

LEAST_LANES = 4
"""The fewest lanes in each of a rank's groups, if the number of groups is not set."""


class LaneLearner(Learner, Protocol):
    """A learner that computes some lanes of a batch."""

    def lanes(self, batch_size: int) -> range:
        """The global lanes of this process."""


class LeadingLearner:
    """The `Learner` of rank 0, which leads the other ranks; its states hold the lanes of this rank."""

    def __init__(
        self,
        ranks: Ranks,
        learner: LaneLearner,
        corpus: Corpus,
        model_config: ModelConfig,
        config: TrainConfig,
    ) -> None:
        self.ranks, self.learner, self.config = ranks, learner, config
        self.device = getattr(learner, "device", "cpu")
        self.knots: Knots = ((0, 0.0), (1, 1.0))
        ranks.tell({"do": "begin", "model": to_dict(model_config), "train": to_dict(config)})
        own = agreed_facts(ranks, corpus)
        _check_equal([own, *(message for message, _ in ranks.answers())])
        ranks.tell({"do": "agree"})
        ranks.set_timeout(config.peer_timeout_s, str(self.device))
        ranks.tell({"do": "load"}, learner.tensors())

    def set_progress(self, knots: Knots) -> None:
        """Set the map from steps to progress, here and with the next order everywhere."""
        self.knots = knots
        self.learner.set_progress(knots)

    def initial_state(self, lanes: range) -> State:
        """The state of this rank's part of the lanes, which must be those of a full batch."""
        return self.learner.initial_state(self.learner.lanes(len(lanes)))

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take updates on all ranks."""
        order = {"do": "advance", "first": first_step, "count": num_steps, "observe": observe}
        self.ranks.tell(order | {"knots": self.knots})
        state, metrics = self.learner.advance(plan, first_step, num_steps, state, observe=observe)
        own = checksum(self.learner)
        if any(message["checksum"] != own for message, _ in self.ranks.answers()):
            self.ranks.tell(
                {"do": "load"}, {n: x for n, x in self.learner.tensors().items() if not _is_of_one(n)}
            )
        return state, metrics

    def tensors(self) -> dict[str, Array]:
        """The tensors of a checkpoint, also of the replicas on other ranks."""
        found = dict(self.learner.tensors())
        if self.config.sync_every is not None:
            self.ranks.tell({"do": "collect", "what": "replicas"})
            for _, arrays in self.ranks.answers():
                found |= arrays
        return found

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Load tensors on all ranks."""
        self.ranks.tell({"do": "load"}, tensors)
        self.learner.load_tensors(tensors)

    def model(self) -> EngineModel:
        """The model to validate and save: all ranks have it, and rank 0 measures it."""
        return self.learner.model()

    def export_state(self, state: State) -> State:
        """The state of all lanes, in their order."""
        self.ranks.tell({"do": "collect", "what": "state"})
        parts = [self.learner.export_state(state)]
        parts += [unnamed_state(arrays, len(state)) for _, arrays in self.ranks.answers()]
        return [
            {key: np.concatenate([part[i][key] for part in parts]) for key in layer}
            for i, layer in enumerate(parts[0])
        ]

    def import_state(self, state: State) -> State:
        """Send each rank the state of all lanes; returns that of this rank's."""
        self.ranks.tell({"do": "load"}, named_state(state))
        return self.learner.import_state(_rows(state, self.learner.lanes(self.config.batch_size)))


def release(learner: Learner) -> None:
    """Order the other ranks to end, if the learner leads some and has not done so."""
    if isinstance(learner, LeadingLearner) and not learner.ranks.released:
        learner.ranks.released = True
        learner.ranks.tell({"do": "end"})


def divided(learner: Learner, config: TrainConfig, plan: Plan) -> dict[str, Any]:
    """Where a training runs, for its first event: the device, and the numbers of ranks, lane groups and replicas."""
    replicas = 1 if config.sync_every is None else config.replicas or 1
    groups = config.lane_groups
    if groups is None:  # on a CPU, torch divides the lanes among threads
        share = getattr(getattr(learner, "first", learner), "share", None)
        groups = 1 if share is None else len(share(plan.batch_size).filled)
    ranks = learner.ranks.size if isinstance(learner, LeadingLearner) else 1
    device = str(getattr(learner, "device", "cpu"))
    return {"device": device, "ranks": ranks, "lane_groups": groups, "replicas": replicas}


def for_ranks(
    config: TrainConfig, launch: Launch, *, device: str = "cpu", before: int | None = None
) -> tuple[TrainConfig, tuple[str, ...]]:
    """Settle how many lane groups and replicas a training on these ranks has, and a note if that changes its bits.

    Args:
        config: the settings; what they name, stays.
        launch: the ranks.
        device: where they train; on a GPU, each rank is one group.
        before: the number of lane groups that the run has had so far; None = it is new.

    Raises:
        ConfigError: there are more ranks than lanes, or than the run's replicas.
    """
    if device == "mps" and launch.size > 1:
        why, fix = "its tensors cannot be exchanged between processes", "use --device cpu, or one process"
        raise ConfigError(f"there are {launch.size} ranks and device is mps", why=why, fix=fix)
    if config.batch_size < launch.size:
        raise ConfigError(
            f"there are {launch.size} ranks and batch_size is {config.batch_size}",
            why="each rank needs a lane of the batch",
            fix=f"start fewer ranks, or set --batch-size to {launch.size} or more",
        )
    threads_each = threads_of_rank(launch, config.threads) if device == "cpu" else 1
    least = 1 if config.sync_every is not None else launch.size
    most = max(least, min(least * threads_each, config.batch_size // LEAST_LANES))
    groups = before or config.lane_groups or most
    replicas = config.replicas if config.sync_every is None else config.replicas or launch.size
    notes: tuple[str, ...] = ()
    if groups < least:
        notes = (
            f"the batch is divided into {least} lane groups instead of {groups}, one for each rank: "
            "the result will be as good, but not byte-identical",
        )
    return dataclasses.replace(config, lane_groups=max(groups, least), replicas=replicas), notes


def continued(config: TrainConfig, run: Run, ranks: Ranks | None) -> tuple[TrainConfig, tuple[str, ...]]:
    """The settings of a run on the ranks that continue it; its lane groups stay, so that its bits do."""
    if ranks is None:
        return config, ()
    started = [event for event in run.events() if event.get("event") == "started"]
    before = started[-1].get("lane_groups") if started else None
    return for_ranks(config, ranks.launch, before=before if isinstance(before, int) else None)


def threads_of_rank(launch: Launch, wanted: int | None = None) -> int:
    """The threads of each rank: those wanted, or its share of the cores that its host's ranks may use."""
    return wanted or max(1, threads.available() // launch.local_size)


def follow(ranks: Ranks, corpus: Corpus) -> None:
    """Carry out the orders of rank 0 until it ends.

    Raises:
        RankError: rank 0 or another rank has failed.
    """
    order, _ = ranks.hear()
    assert order["do"] == "begin", order
    model_config = from_dict(ModelConfig, order["model"], source="rank 0")
    config = from_dict(TrainConfig, order["train"], source="rank 0")
    ranks.answer(agreed_facts(ranks, corpus))
    ranks.hear()  # that all agree; before, a new connection would wait for a rank that may have refused
    with threads.limit(config.threads):
        follower = _Follower(ranks, corpus, model_config, config)
        ranks.set_timeout(config.peer_timeout_s, str(getattr(follower.learner, "device", "cpu")))
        while follower.obey(*ranks.hear()):
            pass


class _Follower:
    """A rank other than 0: its learner, and the state of its lanes."""

    def __init__(self, ranks: Ranks, corpus: Corpus, model_config: ModelConfig, config: TrainConfig) -> None:
        self.ranks, self.config, self.num_layers = ranks, config, model_config.num_layers
        parameters = initial_parameters(model_config, len(corpus.vocab), config.seed)
        engine = load_engine(config.engine)
        found: Any = engine.learner(parameters, model_config, config, device=config.device, ranks=ranks)
        self.learner: LaneLearner = found
        self.plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
        self.lanes = self.learner.lanes(config.batch_size)
        self.state: State = self.learner.initial_state(self.lanes)

    def obey(self, order: Message, arrays: Arrays) -> bool:
        """Carry out one order; whether there may be another."""
        match order["do"]:
            case "load":
                self._load(arrays)
            case "advance":
                self._advance(order)
            case "collect" if order["what"] == "state":
                self.ranks.answer({}, named_state(self.learner.export_state(self.state)))
            case "collect":
                own = self.learner.tensors().items()
                self.ranks.answer({}, {name: x for name, x in own if _is_of_one(name)})
        return bool(order["do"] != "end")

    def _load(self, arrays: Arrays) -> None:
        state = {name: x for name, x in arrays.items() if name.startswith("state.")}
        if state:
            whole = unnamed_state(state, self.num_layers)
            self.state = self.learner.import_state(_rows(whole, self.lanes))
        else:
            self.learner.load_tensors(arrays)

    def _advance(self, order: Message) -> None:
        self.learner.set_progress(tuple((int(step), float(p)) for step, p in order["knots"]))
        first, count = order["first"], order["count"]
        try:
            self.state, _ = self.learner.advance(
                self.plan, first, count, self.state, observe=order["observe"]
            )
        except DivergedError:  # rank 0 raises it too, and records it
            return
        self.ranks.answer({"checksum": checksum(self.learner)})


def checksum(learner: Learner) -> int:
    """A checksum of the bits of the learner's model."""
    return zlib.crc32(
        b"".join(zlib.crc32(p.tobytes()).to_bytes(4, "big") for p in learner.model().parameters().values())
    )


def named_state(state: State) -> dict[str, Array]:
    """A state's arrays under the names that they have in a checkpoint."""
    return {f"state.{i}.{key}": value for i, layer in enumerate(state) for key, value in layer.items()}


def unnamed_state(arrays: Mapping[str, Array], num_layers: int) -> State:
    """The reverse of `named_state`."""
    state: State = [{} for _ in range(num_layers)]
    for name, value in arrays.items():
        _, layer, key = name.split(".")
        state[int(layer)][key] = value
    return state


def _is_of_one(name: str) -> bool:
    """Whether a tensor of a checkpoint belongs to one replica, and so to one rank."""
    return name.startswith("moment.replica")


def _rows(state: State, lanes: range) -> State:
    return [{key: value[lanes.start : lanes.stop] for key, value in layer.items()} for layer in state]


def agreed_facts(ranks: Ranks, corpus: Corpus) -> Message:
    """What must be equal on all ranks."""
    from charloom.distributed.checks import source_digest
    from charloom.versions import versions

    kept = ("charloom", "torch", "numpy", "machine")
    found = versions()
    return {
        "rank": ranks.rank,
        "host": ranks.host,
        "corpus": corpus.sha256,
        "vocabulary": len(corpus.vocab),
        "source": source_digest(),
        **{name: found.get(name, "") for name in kept},
    }


def _check_equal(facts: Sequence[Message]) -> None:
    """Refuse ranks that read another text or run another version."""
    first = facts[0]
    fixes = {
        "corpus": "copy the same text to every host, at the same place",
        "vocabulary": "give every rank the same command",
    }
    for other in facts[1:]:
        for name in first.keys() - {"rank", "host"}:
            if other[name] != first[name]:
                raise ConfigError(
                    f"rank {other['rank']} on {other['host']} has {name} {str(other[name])[:12]}, "
                    f"rank 0 on {first['host']} {str(first[name])[:12]}",
                    why="the ranks of a training must compute the same function of the same text",
                    fix=fixes.get(
                        name, "install the same versions on every host; doctor --distributed compares them"
                    ),
                )
