"""``certificate.json``: a hash chain over what a run was made with and what it became.

A link's hash covers that of the link before, so no link can change, be left out or be moved without the last
hash changing. The certificate guards against damage and honest error: who forges a run can forge the whole
chain, unless its last hash was signed or noted elsewhere (docs/certificate.md).
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError
from mnist_jax.runtime.regular_file import MAX_JSON_BYTES, check_holes, open_regular, read_json, read_regular
from mnist_jax.storage.json_files import as_json_bytes, write_json_atomic

CERTIFICATE_FILE = "certificate.json"
FORMAT_VERSION = 1

# A start of the process: what it was made with. A state: the network after a step. An end: what is kept.
KINDS = ("start", "state", "end")

# JSON may hold what is no text in UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Certificate:
    """The links in their order, and where the run has ended its files."""

    links: tuple[dict[str, Any], ...] = ()  # each with ``kind``, ``step``, ``state`` and ``sha256``
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # path below the folder -> size, sha256

    def followed_by(self, kind: str, step: int, /, **facts: Any) -> "Certificate":
        """Returns it with one more link."""
        link = {"kind": kind, "step": step, **facts}
        before = self.links[-1]["sha256"] if self.links else ""
        return Certificate((*self.links, {**link, "sha256": sha256_of_json([before, link])}))

    def until(self, step: int) -> "Certificate":
        """Returns the links of the steps up to one, for a run that goes on from it."""
        return Certificate(tuple(link for link in self.links if link["step"] <= step))

    @property
    def starts(self) -> list[dict[str, Any]]:
        """The links that say what the run was made with, the last start at the end."""
        return [link for link in self.links if link["kind"] == "start"]

    def without(self, steps: Collection[int]) -> "Certificate":
        """Returns the chain as it would be, had the states of these steps never been added."""
        rebuilt = Certificate()
        for link in self.links:
            if link["kind"] != "state" or link["step"] not in steps:
                rebuilt = rebuilt.followed_by(link["kind"], link["step"], **_facts_of(link))
        return replace(rebuilt, files=self.files)

    @property
    def sha256(self) -> str:
        """The hash of it all: what there is to sign."""
        return sha256_of_json([self.links[-1]["sha256"] if self.links else "", self.files])

    def broken_links(self) -> list[int]:
        """The numbers of the links whose hash is not that of their content and of the link before."""
        rebuilt = Certificate()
        broken = []
        for number, link in enumerate(self.links):
            rebuilt = rebuilt.followed_by(link["kind"], link["step"], **_facts_of(link))
            if rebuilt.links[-1]["sha256"] != link["sha256"]:
                broken.append(number)
                rebuilt = Certificate(self.links[: number + 1])
        return broken


def read_certificate(folder: Path) -> Certificate:
    """Reads the certificate of a run.

    Raises:
        RunError: there is none, or it is none.
    """
    path = folder / CERTIFICATE_FILE
    try:
        content = read_json(path)
        links, files = content["links"], content["files"]
        version = int(content["format_version"])
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected the certificate of a run") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunError(f"cannot read {path}: {error}; expected the certificate of a run") from error
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path} has format {version}; this version of mnist_jax reads format {FORMAT_VERSION}"
        )
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise RunError(f"cannot read {path}: files is not what a run writes there")
    if not isinstance(links, list) or not all(map(_is_link, links)):
        raise RunError(f"cannot read {path}: links is not what a run writes there")
    return Certificate(tuple(links), files)


def write_certificate(folder: Path, certificate: Certificate) -> None:
    """Writes it in one step that outlasts a power cut.

    Raises:
        RunError: the disk refuses; the file is as it was.
    """
    write_json_atomic(folder / CERTIFICATE_FILE, _content(certificate))


def is_as_written(folder: Path, certificate: Certificate) -> bool:
    """Whether the file holds these links and files and nothing else, in the layout they are written in."""
    return read_regular(folder / CERTIFICATE_FILE, MAX_JSON_BYTES) == as_json_bytes(_content(certificate))


def _content(certificate: Certificate) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "links": certificate.links,
        "files": certificate.files,
        "sha256": certificate.sha256,
    }


def sha256_of_json(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, however it is laid out in a file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Returns ``size`` and ``sha256`` of a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path, follow_links=False) as file:
        check_holes(file)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": file.tell(), "sha256": digest}


def _facts_of(link: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in link.items() if name not in ("kind", "step", "sha256")}


def _is_link(link: Mapping[str, Any]) -> bool:
    return (
        isinstance(link, dict)
        and link.get("kind") in KINDS
        and type(link.get("step")) is int
        and all(isinstance(link.get(name), str) for name in ("state", "sha256"))
        and (_is_start(link) if link["kind"] == "start" else _is_map_of_text(link.get("arrays")))
    )


def _is_start(link: Mapping[str, Any]) -> bool:
    return "arrays" not in link and all(isinstance(link.get(name, {}), dict) for name in ("code", "versions"))


def _is_map_of_text(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, str) and not _SURROGATE.search(name + item) for name, item in value.items()
    )
