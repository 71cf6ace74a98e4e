"""An answer's text, in pieces of any cut, into reasoning, content and calls of tools.

What comes out depends on the text alone: white space before a call waits until it is known to be
content, and so does what may become a mark. What only resembles a call is content, unless the
answer was cut inside it. Imported by the backends.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

from engine.chat_syntax import harmony
from engine.chat_syntax.source import Reading, Source, overhang
from engine.chat_syntax.syntax import Family, Gained, Schemas, Sink

_MANY: Final = 1_000
_END: Final = object()


class Parser:
    """Reads one answer. `calls` is how many calls it has made so far."""

    def __init__(
        self,
        family: Family,
        tools: Schemas,
        *,
        prompt: str = "",
        begun: str = "",
        one: bool = False,
    ) -> None:
        """`tools` may be called, with `one` only once. `prompt` is the end of the rendered prompt.

        Where it opens the reasoning, the answer begins inside it. `begun` is the beginning of the
        answer that the prompt has written already.
        """
        self._source = Source()
        self._sink = Sink(tools, 1 if one else _MANY)
        self._family = family
        self._calls = family.calls if tools else None
        starts = () if self._calls is None else self._calls.starts
        marks = {mark for mark in (*starts, *family.noise) if mark}
        self._starts = tuple(sorted(marks, key=len, reverse=True))
        self._found = re.compile("|".join(map(re.escape, self._starts))) if self._starts else None
        self._cut = False
        self._space = ""
        self._fresh = False
        self._over = False
        self._run = self._answer(inside=opens(family, prompt))
        if family.given and prompt.rstrip().endswith(family.given):
            begun = family.given
        self._source.feed(begun)
        self._advance()

    @property
    def calls(self) -> int:
        """How many calls the answer has made so far."""
        return self._sink.calls

    @property
    def over(self) -> bool:
        """Whether all calls are complete that the answer may make."""
        return self._sink.over

    def feed(self, piece: str) -> Gained:
        """The next piece of the answer; what is certain now."""
        self._source.feed(piece)
        self._advance()
        return self._sink.taken()

    def finish(self, *, cut: bool) -> Gained:
        """The end; `cut`: the answer was not finished, so that half a call is no content."""
        self._cut = cut
        self._source.ended = True
        self._advance()
        return self._sink.taken()

    def _advance(self) -> None:
        if not self._over:
            self._over = next(self._run, _END) is _END

    # the readers

    def _answer(self, *, inside: bool) -> Generator[None, None, None]:
        if self._family.channels:
            yield from harmony.read(self._source, self._sink)
            return
        yield from self._thoughts(inside=inside)
        yield from self._content()

    def _thoughts(self, *, inside: bool) -> Reading[None]:
        """The reasoning at the beginning, if there is any."""
        marks, source = self._family.reasoning, self._source
        if marks is None:
            return
        source.pin()
        yield from source.spaces()
        opened = yield from source.take(marks.opening)  # some write it again after the prompt's
        if not (opened or inside):
            self._fresh = yield from source.take(marks.closing)  # some write no more than that
            if not self._fresh:
                source.back()
            return
        source.settle()
        yield from source.spaces()
        space = ""
        while True:
            found = source.text.find(marks.closing, source.at)
            last = found
            if found < 0:
                last = len(source.text)
                last -= 0 if source.ended else overhang(source.text[source.at :], (marks.closing,))
            text = space + source.text[source.at : last]
            said = text.rstrip()
            self._sink.reasoning(said)
            space = text[len(said) :]
            source.at = last
            if found >= 0:
                source.at += len(marks.closing)
                self._fresh = True
                return
            if source.ended:
                return
            yield

    def _content(self) -> Reading[None]:
        """Content, and calls where their marks are."""
        source, sink = self._source, self._sink
        if self._calls is not None and self._calls.bare:
            source.pin()
            yield from source.spaces()
            if (yield from source.peek()) != "{" or not (yield from self._tried()):
                source.back()
        while not sink.full and (mark := (yield from self._text())):
            if mark in self._family.noise:
                source.at += len(mark)
                continue
            source.pin()
            if not (yield from self._tried()):
                source.back()
                if source.starved and self._cut:
                    return
                source.starved = False
                self._say(mark)
                source.at += len(mark)
        if not sink.calls:
            sink.content(self._space)
        sink.over = sink.full
        while not source.ended:  # what follows the last call that may be made
            source.at = len(source.text)
            yield

    def _tried(self) -> Reading[bool]:
        """Read calls; whether there are any."""
        assert self._calls is not None  # noqa: S101 called where there are some
        before = self._sink.calls
        yield from self._calls.read(self._source, self._sink)
        if self._sink.calls == before:
            return False
        self._source.settle()
        self._space, self._fresh = "", True
        return True

    def _text(self) -> Reading[str]:
        """Pass on content up to a mark; "" at the end."""
        source = self._source
        while True:
            found = None if self._found is None else self._found.search(source.text, source.at)
            if found is not None and not self._grows(found):
                self._say(source.text[source.at : found.start()])
                source.at = found.start()
                return found[0]
            last = len(source.text) if found is None else found.start()
            if found is None and not source.ended:
                last -= overhang(source.text[source.at :], self._starts)
            self._say(source.text[source.at : last])
            source.at = last
            if source.ended:
                return ""
            yield

    def _grows(self, found: re.Match[str]) -> bool:
        """Whether a mark at the end of the text may still become a longer one."""
        end = self._source.text[found.start() :]
        return not self._source.ended and any(
            mark.startswith(end) and mark != end for mark in self._starts
        )

    def _say(self, text: str) -> None:
        """Content; white space waits for what follows it."""
        if self._fresh:
            text = text.lstrip()
            if not text:
                return
            self._fresh = False
        said = text.rstrip()
        if said:
            self._sink.content(self._space + said)
            self._space = text[len(said) :]
        else:
            self._space += text


def opens(family: Family, prompt: str) -> bool:
    """Whether a prompt ends by opening the reasoning."""
    marks = family.reasoning
    return marks is not None and prompt.rstrip().endswith(marks.opening.rstrip())
