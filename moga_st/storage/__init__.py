"""Every read and write of a file goes through here, since files come from strangers and disks fill up.

Reading: only ordinary files are opened; what a file declares is held against the bytes that are there and against
``MOGA_ST_MAX_GB`` before memory is taken; no code runs from data; whatever is wrong is one BadInput that names the
file.

Writing: a new file beside the target takes its place when it is whole, so that at any moment the name holds the old
content or the new; nothing is ever written through a link.
"""

from moga_st.storage.arrays import Npz, open_npy, open_npz, parse_npy, read_npy, read_npz
from moga_st.storage.child import survives
from moga_st.storage.grids import open_grid
from moga_st.storage.hdf5 import attribute, open_hdf5, read_dataset
from moga_st.storage.opcodes import Stranger, strangers_in
from moga_st.storage.pickles import read_pickle
from moga_st.storage.pictures import open_picture
from moga_st.storage.reading import (
    check_size,
    escape,
    file_digest,
    first_bytes,
    max_bytes,
    open_file,
    parse_json,
    read_at,
    read_bytes,
    read_json,
    read_table,
    read_text,
    unpack_gzip,
)
from moga_st.storage.tensors import read_safetensors, read_torch
from moga_st.storage.writing import (
    fill_file,
    is_full,
    lock_file,
    make_folder,
    new_file,
    open_log,
    save_npy,
    save_npz,
    strict_json,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "Npz",
    "Stranger",
    "attribute",
    "check_size",
    "escape",
    "file_digest",
    "fill_file",
    "first_bytes",
    "is_full",
    "lock_file",
    "make_folder",
    "max_bytes",
    "new_file",
    "open_file",
    "open_grid",
    "open_hdf5",
    "open_log",
    "open_npy",
    "open_npz",
    "open_picture",
    "parse_json",
    "parse_npy",
    "read_at",
    "read_bytes",
    "read_dataset",
    "read_json",
    "read_npy",
    "read_npz",
    "read_pickle",
    "read_safetensors",
    "read_table",
    "read_text",
    "read_torch",
    "save_npy",
    "save_npz",
    "strangers_in",
    "strict_json",
    "survives",
    "unpack_gzip",
    "write_atomically",
    "write_bytes",
    "write_json",
    "write_text",
]
