"""Config files."""

import json

import pytest


@pytest.fixture(scope="session")
def write_config(tmp_path_factory):
    """Writes a config file and returns its path."""
    path = tmp_path_factory.mktemp("a folder") / "config ü.json"

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return str(path)

    return write
