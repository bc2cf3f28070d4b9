"""The parser of the small shell: from a script to its pipelines of simple commands."""

from __future__ import annotations

import re
from collections.abc import Generator

from attrs import define, field

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_VALUE = rf"\$(?:{_NAME}|\{{{_NAME}\}}|\?)"
_QUOTED = rf"""\\[^\n]|'[^']*'|"(?:[^"\\`$]|\\[^\n]|{_VALUE}|\$(?=["\s]))*"|{_VALUE}"""
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t]|(?<!\S)\\\n|\\\n(?=\s))+|\#[^\n]*)
    |(?P<operator>&&|\|\||[;|\n])
    |(?P<duplicate>(?:2>&1|1?>&2)(?=[\s;|&]|\Z))
    |(?P<redirect>2>>|2>|1?>>|1?>|<(?!<))
    |(?P<word>(?![0-9]+[<>])(?:{_QUOTED}|[^\s;|&<>()$`\\"'*?\[\]{{}}~!\#])(?:{_QUOTED}|[^\s;|&<>()$`\\"'*?\[{{}}~])*)""",
    re.VERBOSE,
)
PART = re.compile(r"""\\(?P<one>.)|'(?P<raw>[^']*)'|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<plain>[^\\'"]+)""", re.DOTALL)
VARIABLE = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})\}}|(\?))")
_RESERVED = frozenset(
    "if then else elif fi for while until do done case esac function select time coproc".split()  # noqa: SIM905
)


class UnknownSyntaxError(Exception):
    """The script needs something that the small shell does not implement."""


@define
class Simple:
    """A simple command, before expansion.

    Attributes:
        words: Its words, still quoted.
        redirects: Operator and file of each redirection; "" for an operator without a file.
    """

    words: list[str] = field(factory=list)
    redirects: list[tuple[str, str]] = field(factory=list)

    @property
    def is_empty(self) -> bool:
        """True if it has neither words nor redirections."""
        return not self.words and not self.redirects


def parse(script: str) -> Generator[tuple[list[Simple], str], None, None]:
    """The pipelines of a script, each with the operator that follows it.

    Raises:
        UnknownSyntaxError: The script needs something that the small shell does not implement.
    """
    pipeline, redirect, last = [Simple()], "", ""
    for kind, text in _tokens(script):
        if kind != "operator":
            redirect = _put(pipeline[-1], kind, text, redirect)
        elif redirect or (pipeline[-1].is_empty and text != "\n"):
            raise UnknownSyntaxError(redirect or text)
        elif text == "|":
            pipeline.append(Simple())
        elif not pipeline[-1].is_empty:
            yield pipeline, text
            pipeline, last = [Simple()], text
    if len(pipeline) > 1 or last in {"&&", "||"}:
        raise UnknownSyntaxError("|" if len(pipeline) > 1 else last)


def _put(simple: Simple, kind: str, text: str, redirect: str) -> str:
    """Add a token to a command. Returns the redirection operator that still needs a file, or ""."""
    if redirect:
        if kind != "word":
            raise UnknownSyntaxError(redirect)
        simple.redirects.append((redirect, text))
        return ""
    if kind == "word":
        if not simple.words and (text in _RESERVED or re.match(r"\w+=", text)):
            raise UnknownSyntaxError(text)
        simple.words.append(text)
    elif kind == "duplicate":
        simple.redirects.append((text, ""))
    return text if kind == "redirect" else ""


def _tokens(script: str) -> Generator[tuple[str, str], None, None]:
    """The tokens of a script, as (kind, text). A newline is added at the end."""
    place = 0
    while place < len(script):
        found = _TOKEN.match(script, place)
        if found is None:
            raise UnknownSyntaxError(script[place : place + 20].partition("\n")[0])
        place = found.end()
        if found.lastgroup != "space":
            yield found.lastgroup or "", found[0]
    yield "operator", "\n"
