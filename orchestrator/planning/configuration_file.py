"""The text of configuration files: YAML in which every scalar stays the text that was written.

YAML 1.1 reads `1:3` as 63, `010` as 8, `no` as false and `1e-3` as a word. Here the key that a scalar stands under
decides what it is; only an empty value and `null` have a meaning of their own.
"""

import codecs
import re
from pathlib import Path
from typing import Any, Protocol

import yaml

from ifmmin.data.errors import UserError

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The encodings that a file names itself; UTF-32's marks begin with those of UTF-16."""


class ConfigurationError(UserError):
    """A configuration, or an option that changes it, is not valid."""


class ReadableFile(Protocol):
    """A file of the disk or of an installed package."""

    def read_bytes(self) -> bytes:
        """The content."""


def read_configuration_file(file: ReadableFile | Path, source: str) -> dict[str, Any]:
    """The keys of a configuration file with their values: text, None, lists and mappings of these.

    Args:
        source: how messages name the file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigurationError: it cannot be read, or is not YAML with keys and values.
    """
    try:
        text = _decoded(file.read_bytes(), source)
        values = yaml.load(text, _Loader)  # a safe loader
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}.") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigurationError(
            f"{source} holds the character U+{error.character:04X} (line {line}), which YAML does not allow; save it "
            "as plain text in UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not valid YAML{_explained(error)}.") from None
    except RecursionError:
        raise ConfigurationError(f"{source} is nested too deeply; a configuration has three levels.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigurationError(f"{source} must hold keys and values, such as 'corpus: digits'.")
    return values


class _Loader(yaml.SafeLoader):
    """YAML without types for plain scalars; a key that appears twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as the class it replaces has it

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys and key.value != "<<":
                    raise yaml.composer.ComposerError(None, None, f"'{key.value}' appears twice", key.start_mark)
                keys.add(key.value)
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def _decoded(content: bytes, source: str) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{source} is not encoded in {encoding.removesuffix('-sig').upper()} (line {line}); save it as UTF-8."
        ) from None


def _explained(error: yaml.YAMLError) -> str:
    """Where YAML is not valid, why, and what to do."""
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or "")
    where = f" (line {mark.line + 1})" if mark else ""
    if "another document" in problem:
        return f"{where}: it holds several documents; keep one in each file"
    if "'\\t'" in problem:
        return f"{where}: it is indented with a tab; indent with spaces"
    return f"{where}: {problem or 'it cannot be parsed'}; correct it there"
