"""A .tar.gz read in memory: nothing is extracted to disk, and no more is decompressed than
`MAX_BYTES`, whatever the archive says of its members."""

import gzip
import posixpath
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

from jax_resnet.errors import UserError

MAX_BYTES = 2**28  # of an archive, decompressed; the genuine ones have up to 187,000,000


def read_archive(path: Path, folders: Collection[str]) -> dict[str, bytes]:
    """The plain files in these folders of the archive, by name.

    Links, long names and the like are passed over.

    `tarfile` would skip members of any size, and read names of any length into memory.

    Raises:
        UserError: for a file that is not a whole archive.
    """
    contents, left = {}, MAX_BYTES
    try:
        with gzip.open(path) as file:
            while (header := file.read(512)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
                bare = member.isdir() or member.issym() or member.islnk() or member.isdev()
                size = 0 if bare else -(-member.size // 512) * 512
                left -= 512 + size
                if member.size < 0 or left < 0:
                    raise ValueError(f"its files have more than {MAX_BYTES} bytes")
                content = file.read(size)
                if len(content) < size:
                    raise EOFError("its last file is cut off")
                folder, name = posixpath.split(posixpath.normpath(member.name))
                if folder in folders and member.isreg():  # never a link
                    contents[name] = content[: member.size]
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise UserError(f"{path} is truncated or altered, not a whole archive: {error}") from None
    return contents
