"""What surrounds a network of torchmil: an ensemble with its seeds, training, predictions and model file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from chowder import seeds
from chowder.features.bags import Bags, as_bags, check_labels
from chowder.files import UserError
from chowder.models.calibration import undertrained
from chowder.models.model_file import made_of, read_content, save_content
from chowder.models.scorer import pick_device
from chowder.models.trainer import one_torch_thread
from chowder.progress import Progress

# numpy's global generator, which torchmil's DTFD draws its groups from, belongs to one thread at a time.
NUMPY_GENERATOR = threading.Lock()


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that members can be trained side by side, always the same."""

    def __init__(self, p: float, generator: torch.Generator):
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Silence each value with probability ``p`` in training; the others are divided by ``1 - p``."""
        if not self.training or not self.p:
            return x
        keep = torch.rand(x.shape, generator=self.generator) >= self.p
        return x * keep.to(x.device, x.dtype) / (1 - self.p)


def own_dropout(module: nn.Module, generator: torch.Generator) -> None:
    """Replace every dropout layer inside ``module`` by :class:`Dropout`, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, Dropout(child.p, generator))
        else:
            own_dropout(child, generator)


class Aggregator:
    """An ensemble of a network of torchmil, trained one slide a step.

    Parameters
    ----------
    members : E, networks that differ in initial weights and dropout; probabilities are averaged.
    epochs, learning_rate, weight_decay : of the optimiser; there is no early stopping and no best epoch.
    seed, stream, name : what the random numbers depend on (``stream`` e.g. dataset and split).
    device : auto, cpu or cuda.
    **own : the network's own settings, see ``OWN`` of each class.

    Errors: TypeError for a setting that the class does not know, :class:`UserError` for a value that cannot be.
    """

    kind = ""
    #: The network's own settings and their values when none is given.
    OWN: ClassVar[dict[str, Any]] = {}
    #: Weights of the terms of torchmil's loss by the end of their names; a term that is not named counts fully.
    TERMS: ClassVar[dict[str, float]] = {}
    BETAS = (0.9, 0.999)
    CLIP: float | None = None

    def __init__(
        self,
        members: int = 5,
        *,
        epochs: int = 20,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-5,
        seed: int = 1802,
        device: str = "auto",
        name: str | None = None,
        stream: Sequence[object] = (),
        **own: Any,
    ):
        unknown = set(own) - set(self.OWN)
        if unknown:
            raise TypeError(f"{self.kind} has no setting {sorted(unknown)[0]!r}")
        own = self.OWN | own
        for key, value in {"members": members, "epochs": epochs, **own}.items():
            whole = key in ("members", "epochs") or type(self.OWN.get(key)) is int
            if whole and (not isinstance(value, int) or value < 1):
                raise UserError(f"{self.kind} {key} is {value!r}: it must be a whole number of at least 1")
        if not learning_rate > 0 or not weight_decay >= 0:
            raise UserError(f"{self.kind}: learning_rate must be above 0, and weight_decay at least 0")
        self.members, self.epochs, self.seed, self.device = members, epochs, seed, device
        self.learning_rate, self.weight_decay = float(learning_rate), float(weight_decay)
        self.own, self.name, self.stream = own, name or self.kind, tuple(stream)
        self.models_: list[nn.Module] = []
        self.dim_ = 0
        self.history_ = np.zeros((0, members))
        self.losses_, self.undertrained_ = np.zeros(members), np.zeros(0, dtype=np.int64)
        self.seconds_ = 0.0

    @property
    def averaged(self) -> np.ndarray:
        """Indices of the members that are averaged: all."""
        return np.arange(self.members)

    # --- what each class says ----------------------------------------------------------------------------------------

    def network(self, dim: int) -> nn.Module:
        """Return the untrained network for features of length ``dim``, with random weights of torch's generator."""
        raise NotImplementedError

    def lesion_scores(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Lesion score (tiles,) of the tiles (tiles, P) of one slide under one member."""
        raise NotImplementedError

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of one member."""
        arguments = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "betas": self.BETAS}
        return torch.optim.Adam(model.parameters(), **arguments)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Return what changes the learning rate after each epoch, or None."""
        return None

    def logit(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Logit (scalar) of one slide's tiles (tiles, P)."""
        return model.predict(x[None], return_inst_pred=False).reshape(())

    # --- training ----------------------------------------------------------------------------------------------------

    def fit(self, bags: Bags | Sequence[np.ndarray], labels: Sequence[int], progress: str | None = None) -> Aggregator:
        """Train all members on bags (Bags, or a list of (tiles, P) arrays) and labels (n,) of 0 and 1.

        The order of the slides is new in every epoch and the same for all members. Afterwards ``history_`` (epochs, E)
        holds the training losses, ``losses_`` (E,) the final cross-entropy without dropout, ``undertrained_`` the
        indices of the members that stayed on the plateau. Errors: :class:`UserError` for bad labels, and for a loss
        that is not finite (with epoch and member).
        """
        started = time.perf_counter()
        bags = as_bags(bags)
        y = check_labels(labels, bags)
        order = seeds.generator(self.seed, *self.stream, "order")
        orders = [order.permutation(len(bags)) for _ in range(self.epochs)]
        self.dim_ = bags.dim
        self.models_ = [self._untrained(member) for member in range(self.members)]
        if progress is None:
            progress = f"training {self.name}"
        with one_torch_thread() as threads, Progress(self.members * self.epochs, "epochs", progress) as bar:
            workers = threads if pick_device(self.device).type == "cpu" else 1
            with ThreadPoolExecutor(max(1, min(workers, self.members))) as pool:
                jobs = [pool.submit(self._train, m, bags, y, orders, bar) for m in range(self.members)]
                self.history_ = np.stack([job.result() for job in jobs], axis=1)
            logits = self._logits(bags)
        targets = torch.tensor(y, dtype=torch.float64).expand(self.members, -1)
        each = nn.functional.binary_cross_entropy_with_logits(torch.from_numpy(logits.T), targets, reduction="none")
        self.losses_ = each.mean(dim=1).numpy()
        self.undertrained_ = undertrained(self.losses_, y)
        self.seconds_ = time.perf_counter() - started
        return self

    def _untrained(self, member: int) -> nn.Module:
        """Return a member with its initial weights; torch's and numpy's own generators are left as they were."""
        key = (self.seed, *self.stream, self.name, member)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.seed_of(*key, "weights"))
            model = self.network(self.dim_)
        own_dropout(model, torch.Generator().manual_seed(seeds.seed_of(*key, "dropout")))
        return model.to(pick_device(self.device))

    def _train(self, member: int, bags: Bags, y: np.ndarray, orders: list[np.ndarray], bar: Progress) -> np.ndarray:
        """Train one member; returns its mean loss of every epoch."""
        model, device = self.models_[member], pick_device(self.device)
        optimiser = self.optimiser(model)
        schedule = self.schedule(optimiser)
        targets = torch.tensor(y, dtype=torch.float32, device=device)
        history = []
        for epoch, order in enumerate(orders):
            model.train()
            total = 0.0
            for step, slide in enumerate(order):
                x = torch.from_numpy(bags[int(slide)]).to(device).float()[None]
                optimiser.zero_grad()
                with self.drawing("train", member, epoch, step):
                    _, terms = model.compute_loss(targets[slide : slide + 1], x)
                loss = sum(value.sum() * self._weight(name) for name, value in terms.items())
                loss.backward()
                if self.CLIP:
                    nn.utils.clip_grad_norm_(model.parameters(), self.CLIP)
                optimiser.step()
                total += float(loss.detach())
            if not np.isfinite(total):
                raise UserError(
                    f"{self.name}: the training loss of member {member + 1} is {total} in epoch {epoch + 1}: lower "
                    "learning_rate, or look for extreme feature values"
                )
            history.append(total / len(order))
            if schedule is not None:
                schedule.step()
            bar.update(1)
        return np.array(history)

    def _weight(self, term: str) -> float:
        return next((weight for end, weight in self.TERMS.items() if term.endswith(end)), 1.0)

    def drawing(self, *key: object) -> Any:
        """Return a context in which a network that draws random numbers itself draws those of ``key``."""
        return contextlib.nullcontext()

    # --- predicting --------------------------------------------------------------------------------------------------

    def _evaluated(self, bags: Bags, function: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> list[list[Any]]:
        """``function(model, tiles)`` of every slide (rows) and member (columns), as numpy, without dropout."""
        if not self.models_:
            raise UserError(f"{self.name} is not trained yet: call fit or load first")
        if bags.dim != self.dim_:
            raise UserError(f"{self.name} was trained on {self.dim_} features, these bags have {bags.dim}")
        device, rows = pick_device(self.device), []
        with torch.no_grad(), one_torch_thread():
            for slide in range(len(bags)):
                x = torch.from_numpy(np.ascontiguousarray(bags[slide])).to(device).float()
                row = []
                for model in self.models_:
                    model.to(device).eval()
                    with self.drawing("predict"):
                        row.append(function(model, x).double().cpu().numpy())
                rows.append(row)
        return rows

    def _logits(self, bags: Bags) -> np.ndarray:
        return np.array(self._evaluated(bags, self.logit)).reshape(len(bags), self.members)

    def predict_proba(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n, E) probability of tumour, one column a member."""
        return 1.0 / (1.0 + np.exp(-self._logits(as_bags(bags))))

    def predict(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n,) probability of tumour, the mean over the members."""
        return self.predict_proba(bags).mean(axis=1)

    def instance_scores(self, bag: np.ndarray, score: str = "auto") -> np.ndarray:
        """Return the lesion score (tiles,) float32 of every tile of one slide (tiles, P), the mean over the members.

        There is one ``score`` only, see each class.
        """
        (members,) = self._evaluated(as_bags([bag]), self.lesion_scores)
        return np.mean(members, axis=0).astype(np.float32)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write the trained members: tensors and plain values only, the same bytes for the same members."""
        numbers = ("members", "epochs", "learning_rate", "weight_decay", "seed", "name")
        arguments = {key: getattr(self, key) for key in numbers} | self.own
        states = [{key: value.detach().cpu().clone() for key, value in m.state_dict().items()} for m in self.models_]
        content = {
            "format": 1,
            "kind": self.kind,
            "arguments": arguments | {"stream": [str(part) for part in self.stream]},
            "dim": self.dim_,
            "states": states,
            "losses": torch.from_numpy(self.losses_),
            "undertrained": torch.from_numpy(self.undertrained_),
            "history": torch.from_numpy(self.history_),
        }
        save_content(path, content)

    @classmethod
    def from_content(cls, content: dict[str, Any], device: str = "auto") -> Aggregator:
        """Return the estimator from what :meth:`save` stored."""
        estimator = cls(**content["arguments"], device=device)
        estimator.dim_ = int(content["dim"])
        for member, state in enumerate(content["states"]):
            model = estimator._untrained(member)
            model.load_state_dict(state)
            estimator.models_.append(model)
        for key in ("losses", "undertrained", "history"):
            setattr(estimator, f"{key}_", content[key].numpy())
        return estimator

    @classmethod
    def load(cls, path: Any) -> Aggregator:
        """Load what :meth:`save` wrote. Errors: a file of another kind of model, or no model file."""
        return made_of(path, read_content(path, cls.kind), cls.from_content)


class NumpySeeded:
    """A context in which numpy's global generator starts at a seed; it is put back afterwards."""

    def __init__(self, seed: int):
        self.seed = seed

    def __enter__(self) -> None:
        NUMPY_GENERATOR.acquire()
        self.before = np.random.get_state()  # noqa: NPY002
        np.random.seed(self.seed % 2**32)  # noqa: NPY002

    def __exit__(self, *error: object) -> None:
        np.random.set_state(self.before)  # noqa: NPY002
        NUMPY_GENERATOR.release()
