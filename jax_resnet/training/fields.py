"""The types of `Config`'s fields: their bounds, and what is said of a value outside of them."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from jax_resnet.errors import UserError
from jax_resnet.files import expand_home
from jax_resnet.model import check_depth, check_image_size

MAX_IMAGES = 2**31 - 1  # steps * batch size, which the device counts in int32


def _text(value: Any) -> Any:
    if value == "" or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in str(value)):
        raise ValueError("text, not empty and without control characters")
    return value


def _file_name(name: str) -> str:
    if name in (".", "..") or set(name) & set("/\\") or len(name.encode()) > 200:
        raise ValueError("the name of one folder, at most 200 bytes")
    return name


def _folder(path: Path, info: ValidationInfo) -> Path:
    expand_home(path, f"`{info.field_name}`")
    return path


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError("HOST:PORT of the first process, or auto")
    return address


Depth = Annotated[int, Field(le=1202), AfterValidator(lambda depth: check_depth(depth) or depth)]
Count = Annotated[int, Field(ge=1, le=MAX_IMAGES)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_IMAGES)]
Rate = Annotated[float, Field(ge=0, le=1e38, allow_inf_nan=False)]  # a float32 holds little more
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
ImageSize = Annotated[tuple[int, int], AfterValidator(check_image_size)]
Text = Annotated[str, BeforeValidator(_text)]
Folder = Annotated[Path, BeforeValidator(_text), AfterValidator(_folder)]
FileName = Annotated[Text, AfterValidator(_file_name)]
Address = Annotated[Text, AfterValidator(_address)]


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raises a `UserError` for the first fault that pydantic finds in the block."""
    try:
        yield
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = fault.get("ctx", {}).get("error")
        if isinstance(reason, UserError):
            raise reason from None
        if not fault["loc"]:
            raise UserError(fault["msg"]) from None
        wanted = str(reason) if reason else fault["msg"].removeprefix("Input should be ")
        raise UserError(expected(str(fault["loc"][0]), fault["input"], wanted)) from None


def expected(field: str, value: Any, wanted: str) -> str:
    """A message that names field, value and what is accepted."""
    shown = repr(str(value) if isinstance(value, Path) else value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    return f"`{field}` is {shown}, expected {wanted}"
