"""torch's container since 1.6: a zip of one pickle and one stored member per storage.

Layout (torch/serialization.py, `_save`): ROOT/data.pkl with persistent ids, ROOT/data/KEY
uncompressed, ROOT/byteorder since 2.0.
"""

from __future__ import annotations

from .mapped import Mapped, quoted
from .pickle_machine import Machine
from .pickle_opcodes import load
from .tensors import Region
from .torch_globals import TorchGlobals
from .zip_directory import STORED, Member

PICKLE = "data.pkl"


def holds(members: dict[str, Member]) -> bool:
    """Whether these are the members of a torch checkpoint."""
    return any(name.rpartition("/")[2] == PICKLE and name.count("/") <= 1 for name in members)


def read(file: Mapped, members: dict[str, Member]) -> object:
    """The saved object; its tensors stay in the file."""
    pickles = [name for name in members if name.rpartition("/")[2] == PICKLE]
    if len(pickles) != 1:
        raise file.error(f"holds {len(pickles)} members called {PICKLE} instead of one")
    root = pickles[0][: -len(PICKLE)]
    if root + "constants.pkl" in members:
        raise file.error(
            "is a TorchScript program; load it with torch.jit.load and save only its tensors:"
            " torch.save(module.state_dict(), FILE)"
        )
    _check_byte_order(file, members.get(root + "byteorder"))

    def locate(key: str, nbytes: int) -> Region:
        return _region(file, members, f"{root}data/{key}", nbytes)

    start, length = _extent(file, members[pickles[0]])
    return load(Machine(file, start, start + length, TorchGlobals(file, locate)))


def _region(file: Mapped, members: dict[str, Member], name: str, nbytes: int) -> Region:
    if name not in members:
        raise file.error(f"lacks the storage {quoted(name)}; it is damaged, fetch it again")
    start, length = _extent(file, members[name])
    if nbytes > length:
        raise file.error(f"storage {quoted(name)} has {length} of its {nbytes} bytes")
    return Region(start, nbytes)


def _extent(file: Mapped, member: Member) -> tuple[int, int]:
    if member.method != STORED:
        raise file.error(
            f"member {quoted(member.name)} is compressed, which torch never does;"
            " unpack the file and pack it again without compression (zip -0)"
        )
    return member.start, member.size


def _check_byte_order(file: Mapped, member: Member | None) -> None:
    if member is None:  # before torch 2.0 all were little-endian
        return
    start, length = _extent(file, member)
    if bytes(file.span(start, min(length, 16), "byteorder")) != b"little":
        raise file.error("was written on a big-endian machine; save it again on another")
