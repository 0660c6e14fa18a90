"""The answers to the shipped rows of mathematics, worked out again by other ways.

Counting and trying take the place of formulas. Each entry is the beginning of a question with what
its answer must be, in the words of the rows: a number, or what `readable` makes of the text.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction

Value = int | Fraction
_DECK = range(52)


def number(text: str) -> Fraction | None:
    """The number that an answer is; None if it is none."""
    return Fraction(text) if re.fullmatch(r"-?\d+(\.\d+)?(/\d+)?", text) else None


def _formula(text: str) -> Callable[[float], float]:
    """A formula of x or t as the rows write them, to be tried at some points."""
    code = text.replace("\\", "").replace("^2(t)", "(t)**2").replace("^", "**")
    code = re.sub(r"(?<=[\dx)]) ?(?=\()|(?<=\)) (?=e)", "*", code)
    code = re.sub(r"(?<=\d)(?=sin|sqrt|pi|x)", "*", code).replace("{", "(").replace("}", ")")
    names = {"e": math.e, "sin": math.sin, "sqrt": math.sqrt, "pi": math.pi}
    return lambda x: float(eval(code, {"__builtins__": {}}, {**names, "x": x, "t": x}))  # noqa: S307 (the project's own rows)


def same(text: str, wanted: Callable[[float], float]) -> bool:
    """Whether a formula has the wanted values at some points."""
    found = _formula(text)
    return all(math.isclose(found(x), wanted(x), rel_tol=1e-6) for x in (0.3, 1.7, 2.9))


def _slope(f: Callable[[float], float], x: float) -> float:
    return (f(x + 1e-6) - f(x - 1e-6)) / 2e-6


def _solutions(holds: Callable[[int], bool]) -> list[int]:
    return [n for n in range(-200, 201) if holds(n)]


def _hands(wanted: Callable[[tuple[int, ...]], bool], hands: list[tuple[int, ...]]) -> Fraction:
    return Fraction(sum(map(wanted, hands)), len(hands))


def _area(corners: list[tuple[int, int]]) -> Fraction:
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(Fraction(sum(x * v - u * y for (x, y), (u, v) in pairs), 2))


#: By the beginning of the question.
NUMBERS: dict[str, Value] = {
    "A train leaves at 9:40": (13 * 60 + 5) - (9 * 60 + 40),
    "Solve 3x - 7 = 2x + 15": _solutions(lambda x: 3 * x - 7 == 2 * x + 15)[0],
    "What is the sum of the first 40 odd": sum(range(1, 80, 2)),
    "A rectangle has perimeter 54": next(16 * b for b in range(54) if 2 * (16 + b) == 54),
    "How many ways are there to seat": len(list(itertools.permutations(range(5)))),
    "What is the remainder of 7^100": 7**100 % 5,
    "Two dice are thrown": _hands(
        lambda d: sum(d) == 9, list(itertools.product(range(1, 7), repeat=2))
    ),
    "A shop lowers a price": Fraction(80) * Fraction(85, 100) * Fraction(90, 100),
    "Find the greatest common divisor": max(d for d in range(1, 463) if 462 % d == 1071 % d == 0),
    "Evaluate the integral of 2x + 1": sum(
        (Fraction(2 * (2 * k + 1), 1000) + 1 for k in range(2000)), Fraction(0)
    )
    / 500,
    "What is the distance between": math.isqrt((2 + 4) ** 2 + (-1 - 7) ** 2),
    "A tap fills a tank": 1 / (Fraction(1, 6) + Fraction(1, 3)),
    "Write 0.375 as a fraction": Fraction("0.375"),
    "What is log base 2": next(n for n in range(-9, 9) if Fraction(2) ** n == Fraction(1, 32)),
    "The mean of four numbers": next(n for n in range(99) if Fraction(9 + 14 + 20 + n, 4) == 15),
    "What is the determinant": _area([(0, 0), (3, 5), (5, 13), (2, 8)]),
    "How many diagonals": sum(
        (a - b) % 12 not in (1, 11) for a, b in itertools.combinations(range(12), 2)
    ),
    "Find the sum of the infinite series": sum(
        (Fraction(5, 3**n) for n in range(60)), Fraction(0)
    ).limit_denominator(1000),
    "Which number has the binary form": int("110101", 2),
    "A committee of 3": len(list(itertools.combinations(range(8), 3))),
    "What is the limit of (sin 3x)": round(math.sin(3e-6) / 1e-6),
    "A cube has a surface": next(a**3 for a in range(99) if 6 * a * a == 150),
    "The angles of a triangle": max(Fraction(180 * part, 2 + 3 + 4) for part in (2, 3, 4)),
    "What is the median": sorted([12, 5, 22, 30, 7, 36, 14])[3],
    "How much interest do 2400": Fraction(2400 * 5, 100) * Fraction(9, 12),
    "What is the smallest positive number": next(
        n for n in range(1, 99) if n % 3 == 2 and n % 5 == 3
    ),
    "A car drives 150 km": Fraction(300) / (Fraction(150, 60) + Fraction(150, 100)),
    "How many positive divisors": sum(720 % d == 0 for d in range(1, 721)),
    "From a pack of 52 cards": _hands(
        lambda h: all(card % 13 == 0 for card in h), list(itertools.permutations(_DECK, 2))
    ),
    "In how many ways can the letters": len(set(itertools.permutations("LEVEL"))),
    "The product of two consecutive": next(n for n in range(99) if n * (n + 1) == 272),
    "What is the area of the triangle": _area([(1, 1), (7, 3), (4, 9)]),
    "Money grows by 4%": Fraction(5000) * Fraction(104, 100) ** 2,
    "What is the last digit": 3**2027 % 10,
    "A ladder of 6.5 m": next(h for h in range(9) if h * h * 4 + 25 == 169),
    "Find the greatest value": max(12 * x - x**3 for x in (Fraction(k, 100) for k in range(401))),
    "How many whole numbers from 1": sum(n % 2 != 0 and n % 3 != 0 for n in range(1, 101)),
    "A mixture of 8 litres": next(w for w in range(99) if Fraction(2, 8 + w) == Fraction(1, 10)),
}

#: Formulas, by the values that they must have.
FORMULAS: dict[str, Callable[[float], float]] = {
    "Factor x^2 - 11x + 28": lambda x: x * x - 11 * x + 28,
    "What is the derivative": lambda x: _slope(lambda y: y**3 * math.exp(y), x),
    "Simplify sqrt(75)": lambda _: math.sqrt(75) + math.sqrt(27),
    "What is the area of a circle": lambda _: math.pi * 25,
    "Divide x^3 - 1": lambda x: (x**3 - 1) / (x - 1),
    "Express cos(2t)": lambda t: math.cos(2 * t),
}

#: All whole numbers that an answer in words names, in order.
NAMED: dict[str, list[int]] = {
    "Solve the system": [
        n
        for x in range(-30, 30)
        for y in range(-30, 30)
        if x + y == 19 and x - y == 5
        for n in (x, y)
    ],
    "For which values of k": sorted(_solutions(lambda k: k * k == 4 * 9), reverse=True),
    "Solve |2x - 3|": sorted(_solutions(lambda x: abs(2 * x - 3) == 11), reverse=True),
    "Find the vertex": list(min((x * x - 6 * x + 4, x) for x in range(-50, 50)))[::-1],
}
