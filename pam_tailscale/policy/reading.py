"""Typed values out of a policy file, each complaint with its place. What they mean is not known here. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.hujson import Document, Path


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object, and where it stands."""

    value: Any
    path: Path


class Reader:
    """Takes typed values out of a document.

    `null_is_absent`: as Go reads it, and so the control plane. Where a field takes something away, null may have been
    meant to say something: False refuses it.
    """

    def __init__(self, document: Document, *, null_is_absent: bool = True) -> None:
        self.document = document
        self._null_is_absent = null_is_absent

    def fields(self, value: Any, path: Path, known: Iterable[str] | None = None) -> dict[str, Field]:
        """An object's members by their name in lower case. With `known`, others are refused."""
        if not isinstance(value, dict):
            raise self.document.error(path, "an object is expected here: { … }")
        found: dict[str, Field] = {}
        for key, member in value.items():
            here = (*path, key)
            name = key.casefold()
            if name in found:
                raise self.document.error(
                    here, f"this is {quote(key)} once more, in another spelling: keep one of them"
                )
            if known is not None and name not in known:
                hint = f"those that may stand here, in any case: {', '.join(sorted(known))}"
                raise self.document.error(here, f"unknown field {quote(key)}").hinted(hint)
            if member is None and not self._null_is_absent:
                raise self.document.error(here, "null says nothing: leave the field out")
            if member is not None:
                found[name] = Field(member, here)
        return found

    def members(self, section: Field | None) -> Iterator[tuple[str, Any, Path]]:
        """Key, value and place of an object's members, whose keys are names of the administrator's."""
        if section is None:
            return
        if not isinstance(section.value, dict):
            raise self.document.error(section.path, "an object is expected here: { … }")
        for key, value in section.value.items():
            yield key.strip(), value, (*section.path, key)

    def items(self, section: Field | None) -> Iterator[tuple[int, Any, Path]]:
        """Number from 1, value and place of a list's items."""
        if section is None:
            return
        if not isinstance(section.value, list):
            raise self.document.error(section.path, "a list is expected here: [ … ]")
        for position, value in enumerate(section.value):
            yield position + 1, value, (*section.path, position)

    def text(self, value: Any, path: Path) -> str:
        """A text, without the spaces around it."""
        if not isinstance(value, str):
            raise self.document.error(path, "a text in double quotes is expected here")
        return value.strip()

    def texts(self, value: Any, path: Path) -> tuple[str, ...]:
        """A list of texts, without the spaces around each."""
        if not isinstance(value, list):
            raise self.document.error(path, "a list is expected here: [ … ]")
        return tuple(self.text(item, (*path, position)) for position, item in enumerate(value))

    def flag(self, fields: Mapping[str, Field], name: str, *, default: bool = True) -> bool:
        """A field that is true or false; where it is absent, what it then is."""
        found = fields.get(name)
        if found is None:
            return default
        if not isinstance(found.value, bool):
            raise self.document.error(found.path, "true or false is expected here")
        return found.value

    def text_of(self, fields: Mapping[str, Field], name: str) -> str:
        """The text of a field, empty where it is absent."""
        found = fields.get(name)
        return "" if found is None else self.text(found.value, found.path)

    def list_of(self, fields: Mapping[str, Field], name: str) -> tuple[str, ...]:
        """The texts of a field, none where it is absent."""
        found = fields.get(name)
        return () if found is None else self.texts(found.value, found.path)
