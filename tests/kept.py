"""The clips of a folder as every kind of source that holds several."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def shuffled(items, seed=0):
    return [items[i] for i in np.random.RandomState(seed).permutation(len(items))]


def as_list(folder, path):
    path.write_text("".join(f"{file}\n" for file in shuffled(files_of(folder))))
    return path


def as_tar(folder, path, files=None, **options):
    """A tar of these files, or of all in an order of its own, named as within the folder."""
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode, **options) as tar:
        for file in shuffled(files_of(folder)) if files is None else files:
            tar.add(file, file.relative_to(folder))
    return path


def as_zip(folder, path, method=zipfile.ZIP_DEFLATED, files=None):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in shuffled(files_of(folder)) if files is None else files:
            archive.write(file, file.relative_to(folder))
    return path


def as_shards(folder, top, count=3):
    """Tars in order, and the pattern that means them."""
    files = files_of(folder)
    top.mkdir()
    for index in range(count):
        own = files[index * len(files) // count : (index + 1) * len(files) // count]
        as_tar(folder, top / f"shard-{index:03}.tar", own)
    return f"{top}/shard-{{000..{count - 1:03}}}.tar"


def tar_of(members, path, **options):
    """A tar of (TarInfo or name, bytes)."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w", **options) as tar:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def as_parquet(folder, path, rows_per_group=4, files=None):
    """A table as the `datasets` library writes it, rows in the order of the files."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    own = files_of(folder) if files is None else files
    cells = [{"bytes": f.read_bytes(), "path": f.relative_to(folder).as_posix()} for f in own]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"text": ["x"] * len(own), "audio": pa.array(cells, kind)})
    parquet.write_table(table, path, row_group_size=rows_per_group)
    return path


def all_kinds(folder, top):
    """Label -> source, of the same clips."""
    top.mkdir(exist_ok=True)
    return {
        "list": as_list(folder, top / "clips.txt"),
        "tar": as_tar(folder, top / "clips.tar"),
        "pax": as_tar(folder, top / "pax.tar", format=tarfile.PAX_FORMAT),
        "tar.gz": as_tar(folder, top / "clips.tar.gz"),
        "zip": as_zip(folder, top / "clips.zip"),
        "stored zip": as_zip(folder, top / "stored.zip", zipfile.ZIP_STORED),
        "shards": as_shards(folder, top / "shards"),
        "glob": f"{folder}/*",
    }
