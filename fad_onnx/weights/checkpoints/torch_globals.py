"""The globals and storages that the pickle of a torch checkpoint may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .mapped import Mapped, quoted
from .numpy_stand_ins import PickledDtype, fill
from .stand_ins import ALLOWED, Arguments, Callee, Storage, StorageType
from .tensors import Element, LazyTensor, Region, whole_numbers


@dataclass
class TorchGlobals:
    """What a pickle can refer to: globals by name, storages by persistent id."""

    file: Mapped
    locate: Callable[[str, int], Region | None]
    """The place of a storage, with at least these bytes; None if not yet known."""
    storages: dict[str, Storage] = field(default_factory=dict)
    views: dict[str, Storage] = field(default_factory=dict)

    def find(self, module: str, name: str) -> object:
        """The replacement of a global; CheckpointError, which names it, if there is none."""
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise self.file.error(
                f"asks for {quoted(full)}, which is not a tensor or a plain value; nothing was"
                " run. If you trust the file, load it with torch where it was made and save"
                " only its tensors: torch.save(model.state_dict(), FILE)"
            )
        return ALLOWED[full]

    def reduce(self, callee: object, arguments: Arguments) -> object:
        """Apply a known function."""
        if not isinstance(callee, Callee):
            raise self.file.error("applies something that is not a known function")
        return callee.build(self.file, arguments)

    def build(self, target: object, state: object) -> None:
        """Set the state of a pickled dtype or array; that of an OrderedDict is ignored."""
        if isinstance(target, PickledDtype):
            target.set_state(self.file, state)
        elif isinstance(target, LazyTensor) and target.dtype == object:
            fill(self.file, target, state)
        # The state of an OrderedDict is the state_dict's _metadata: versions of modules.
        elif type(target) is not dict:
            raise self.file.error("sets the state of something that has none")

    def persistent(self, identity: object) -> object:
        """("storage", type, key, location, element count[, view]) -> the storage."""
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise self.file.error("refers to something outside that is not a storage")
        _, kind, key, _location, count, *view = identity
        if not isinstance(kind, StorageType) or not isinstance(key, str):
            raise self.file.error("refers to a storage of unknown form")
        what = f"the size of storage {quoted(key)}"
        (count,) = whole_numbers(self.file, (count,), what)
        storage = self._storage(key, kind.element, count * kind.element.stored.itemsize)
        if view and view[0] is not None:
            return self._view(storage, kind.element, view[0])
        return storage

    def _storage(self, key: str, element: Element, nbytes: int) -> Storage:
        self.file.spend(400)
        known = self.storages.get(key)
        if known is None:
            storage = Storage(key, element, nbytes, self.locate(key, nbytes))
            self.storages[key] = storage
            return storage
        if known.element != element or known.nbytes != nbytes:
            raise self.file.error(f"storage {quoted(key)} is given two types or sizes")
        return known

    def _view(self, root: Storage, element: Element, view: object) -> Storage:
        """A view (key, offset, count) in elements of the root, as torch before 0.4 wrote it."""
        if type(view) is not tuple or len(view) != 3 or not isinstance(view[0], str):
            raise self.file.error("a view of a storage has an unknown form")
        offset, count = whole_numbers(self.file, view[1:], "a view of a storage")
        size = element.stored.itemsize
        if (offset + count) * size > root.nbytes:
            raise self.file.error(f"a view reaches past the end of storage {quoted(root.key)}")
        made = Storage(view[0], element, count * size, root=root, shift=offset * size)
        return self.views.setdefault(view[0], made)
