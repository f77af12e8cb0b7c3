"""Words for a guard: what a stream saw, how rare that is, and where in the picture.

The words belong to a stream's input kind; a kind without words of its own goes by the stream's
name. To give a new kind words, enter it in `PHRASES`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Beyond one in a million the tail is an extrapolation whatever the footage was; say no number.
LAST_NUMBER = 1_000_000
# Nearer to the border than this share of the picture something is at its edge.
EDGE = 0.08

HERE, ELSEWHERE = "here", "elsewhere"


@dataclass(frozen=True)
class Phrases:
    """How one input kind speaks.

    Attributes:
        some: With ``{share}`` per cent and ``{place}``: rarer than so much of the normal footage.
        beyond: With ``{place}``: rarer than the normal footage can tell.
        slight: Commoner than one in ten.
    """

    some: str
    beyond: str
    slight: str


_LOOKS = Phrases(
    some="looks unlike {share} % of what was seen {place}",
    beyond="looks unlike anything seen {place}",
    slight="looks a little unusual",
)

PHRASES: dict[str, Phrases] = {
    "speed": Phrases(
        some="faster than {share} % of what was seen {place}",
        beyond="faster than anything seen {place}",
        slight="a little faster than usual",
    ),
    "appearance": _LOOKS,
    "window": _LOOKS,
    "motion": Phrases(
        some="moves unlike {share} % of what was seen {place}",
        beyond="moves unlike anything seen {place}",
        slight="moves a little unusually",
    ),
    "clip": Phrases(
        some="goes on unlike {share} % of what was seen {place}",
        beyond="goes on unlike anything seen {place}",
        slight="goes on a little unusually",
    ),
    "direction": Phrases(
        some="goes another way than {share} % of what was seen {place}",
        beyond="goes a way that nothing seen {place} went",
        slight="goes a slightly unusual way",
    ),
}


def phrases_of(kind: str, name: str) -> Phrases:
    """The phrases of an input kind, or of the stream's name where the kind has none."""
    plain = name.replace("{", "{{").replace("}", "}}")
    return PHRASES.get(kind) or Phrases(
        some=plain + ": more unusual than {share} % of what was seen {place}",
        beyond=plain + ": beyond anything seen {place}",
        slight=f"{name}: a little unusual",
    )


def rarity(phrases: Phrases, surprise: float, *, samples: int, place: str = HERE) -> str:
    """A tail probability 10**-surprise in words, rounded towards the commoner.

    Args:
        phrases: How the stream's kind speaks.
        surprise: -log10 of the tail probability.
        samples: Normal samples behind the tail; nothing rarer than 1 in so many is put in numbers.
        place: Where the normal footage was seen: `HERE` or `ELSEWHERE`.
    """
    if surprise > np.log10(max(min(samples, LAST_NUMBER), 1)) + 1e-9:
        return phrases.beyond.format(place=place)
    odds = _round_down(10.0**surprise)
    if odds < 10:
        return phrases.slight
    return phrases.some.format(share=f"{100 - 100 / odds:.8g}", place=place)


def place_in_words(x: float, y: float) -> str:
    """A place in the picture, 0..1 from its upper left corner, as one would point to it."""
    across, down = _third(x, "left", "right"), _third(y, "upper", "lower")
    beside = "" if EDGE <= x <= 1 - EDGE else across
    above = "" if EDGE <= y <= 1 - EDGE else down
    if beside and above:
        return f"{above} {beside} corner"
    if beside or above:
        part = down if beside else across
        return f"{beside or above} edge" + (f", {part} part" if part else "")
    if not across:
        return f"{down} centre" if down else "centre"
    return f"{down} {across}" if down else across


def movement_in_words(samples: int | None, little: int) -> str:
    """What normal footage says of movement at a place; empty where there was enough of it.

    Args:
        samples: Samples of moving things there; None: no stream can tell.
        little: Fewer are worth a word.
    """
    if samples is None or samples >= little:
        return ""
    amount = "little" if samples else "nothing"
    return f"{amount} was seen moving here before"


def _third(value: float, low: str, high: str) -> str:
    return low if value < 1 / 3 else high if value > 2 / 3 else ""


def _round_down(value: float) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above `value`, at least 1."""
    # The hair's breadth makes 10**log10(5000) count as 5000.
    exponent = max(int(np.floor(np.log10(max(value, 1.0)) + 1e-9)), 0)
    step = int(10**exponent)
    leading = value / step + 1e-6
    return step * (5 if leading >= 5 else 2 if leading >= 2 else 1)
