"""What a terminal shows of what a program writes to it: as much of one as our console needs."""

import codecs
import re

from rich.cells import get_character_cell_size

_PIECE = re.compile(r"\x1b\[([0-9;?<>=]*)([@-~])|\x1b(.)|([\x00-\x1f])|([^\x00-\x1f\x1b]+)", re.DOTALL)
_CUT = re.compile(r"\x1b(\[[0-9;?<>=]*)?\Z")


class Terminal:
    """Two screens of `width` × `height` cells. `lines` is the one that is seen now."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.is_alternate = False
        self.is_cursor_shown = True
        self.modes: set[str] = set()
        self._screens = {False: self._blank(), True: self._blank()}
        self._row = self._column = 0
        self._kept = (0, 0)
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def resize(self, width: int, height: int) -> None:
        """Everything is blank then; a program has to paint anew."""
        self.width, self.height = width, height
        self._screens = {False: self._blank(), True: self._blank()}

    @property
    def lines(self) -> list[str]:
        """From top to bottom, without the blanks at the right."""
        return ["".join(line).rstrip() for line in self._screens[self.is_alternate]]

    def feed(self, data: bytes) -> None:
        """What the program wrote."""
        text = self._rest + self._decoder.decode(data)
        cut = _CUT.search(text)
        self._rest = cut[0] if cut else ""
        for piece in _PIECE.finditer(text.removesuffix(self._rest) if self._rest else text):
            parameters, final, _, control, words = piece.groups()
            if final:
                self._sequence(parameters, final)
            elif control:
                self._control(control)
            elif words:
                self._write(words)

    def _blank(self) -> list[list[str]]:
        return [[" "] * self.width for _ in range(self.height)]

    def _sequence(self, parameters: str, final: str) -> None:
        if parameters.startswith("?"):
            self._mode(parameters[1:], final == "h")
            return
        numbers = [int(number or 0) for number in parameters.split(";")] if parameters.strip(";") else [0]
        screen = self._screens[self.is_alternate]
        if final == "H":
            self._row, self._column = max(0, numbers[0] - 1), max(0, (numbers[1:] or [1])[0] - 1)
        elif final == "G":
            self._column = max(0, numbers[0] - 1)
        elif final == "K" and self._row < self.height:
            line = screen[self._row]
            # In the last column terminals wait with the cursor on it.
            start = min(self._column, self.width - 1)
            line[start:] = [" "] * (self.width - start)
        elif final == "J":
            self._screens[self.is_alternate] = self._blank()

    def _mode(self, name: str, is_on: bool) -> None:
        (self.modes.add if is_on else self.modes.discard)(name)
        if name == "25":
            self.is_cursor_shown = is_on
        elif name == "1049" and is_on != self.is_alternate:
            self.is_alternate = is_on
            if is_on:
                self._kept = (self._row, self._column)
            else:
                self._row, self._column = self._kept

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            self._scroll()

    def _write(self, words: str) -> None:
        for character in words:
            cells = get_character_cell_size(character)
            if cells == 0:
                self._onto_the_last(character)
                continue
            if self._column + cells > self.width:
                self._row, self._column = self._row + 1, 0
                self._scroll()
            line = self._screens[self.is_alternate][min(self._row, self.height - 1)]
            line[self._column : self._column + cells] = [character, *[""] * (cells - 1)]
            self._column += cells

    def _onto_the_last(self, mark: str) -> None:
        line = self._screens[self.is_alternate][min(self._row, self.height - 1)]
        column = max(0, min(self._column, self.width) - 1)
        while column and not line[column]:
            column -= 1
        line[column] += mark

    def _scroll(self) -> None:
        screen = self._screens[self.is_alternate]
        while self._row >= self.height:
            self._row -= 1
            del screen[0]
            screen.append([" "] * self.width)
