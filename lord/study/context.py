"""What measurements share: what is loaded once in a process, and what is made once for all."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from lord.names import version_of
from lord.record import record_key

if TYPE_CHECKING:
    from torch import Tensor

Held = TypeVar("Held")


@dataclass(frozen=True)
class Context:
    """Models of any kind, held for the process, and a folder for intermediate results.

    What several cells need (attacked images, features, trained adapters) is made by the first of
    them and kept in the folder, named after all that it depends on: settings, weights and the
    versions of components.

    Attributes:
        work: the folder; it may be deleted at any time, which costs time and nothing else.
    """

    work: Path
    held: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def hold(self, load: Callable[..., Held], *arguments: Any) -> Held:
        """What ``load(*arguments)`` returns, from its first call on."""
        key = (load, *arguments)
        if key not in self.held:
            self.held[key] = load(*arguments)
        return self.held[key]

    def path(self, name: str, asked: Mapping[str, Any], components: Iterable[str]) -> Path:
        """Where an intermediate result lies; other settings or versions give another path.

        Args:
            asked: all settings that it depends on, and the checksums of the weights, as JSON.
        """
        versions = {component: version_of(component) for component in components}
        return self.work / f"{name}-{record_key(name, asked, 0, versions)}"

    def once(
        self,
        name: str,
        asked: Mapping[str, Any],
        components: Iterable[str],
        make: Callable[[], dict[str, "Tensor"]],
    ) -> dict[str, "Tensor"]:
        """The tensors of an intermediate result, which is made first if it is not there."""
        from lord.tensors import load_tensors, save_tensors

        path = self.path(name, asked, components).with_suffix(".safetensors")
        with self.alone(path):
            found = load_tensors(path)
            if found is None:
                save_tensors(make(), path)
                found = load_tensors(path)
        return found[0]

    @contextmanager
    def alone(self, path: Path) -> Iterator[None]:
        """Of several processes that come here for one path, one works and the others wait."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            yield
