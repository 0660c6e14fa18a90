"""Rows in the columns of each suite, made up here; their form is that of the published files."""

from __future__ import annotations

from typing import Any

GSM8K = {
    "question": "Ann has 3 boxes of 12 pens. She gives away 6. How many are left?",
    "answer": "Ann has 3*12=<<3*12=36>>36 pens.\nShe keeps 36-6=<<36-6=30>>30.\n#### 30",
}
MATH = {
    "problem": "What is $\\frac{1}{2}+\\frac{1}{3}$?",
    "level": "Level 2",
    "type": "Prealgebra",
    "solution": "The sum is $\\frac{3+2}{6}=\\boxed{\\frac{5}{6}}$.",
}
MATH_500 = {
    "problem": "Solve $x^2=4$.",
    "solution": "So $\\boxed{x=\\pm 2}$.",
    "answer": "2,-2",
    "subject": "Algebra",
    "level": 1,
    "unique_id": "test/algebra/1.json",
}
SVAMP = {
    "ID": "chal-1",
    "Body": "There are 8 pears in a bowl. Tom eats 3 of them",
    "Question": "How many pears are left?",
    "Equation": "( 8.0 - 3.0 )",
    "Answer": 5.0,
    "Type": "Subtraction",
}
MAWPS = {
    "id": "mawps__1",
    "question": "Joan saw 1000 games and then 9.5 more. How many in all?",
    "chain": "<gadget id='calculator'>1_000 + 9.5</gadget>",
    "result": "1_009.5",
    "result_float": 1009.5,
    "equation": "x = 1_000 + 9.5",
    "expression": "1_000 + 9.5",
}
MAWPS_ORIGINAL = {
    "iIndex": 8,
    "sQuestion": "Joan went to 4 games this year. She went to 9 last year. How many in all?",
    "lEquations": ["X = 4 + 9"],
    "lSolutions": ["13"],
}
MATHQA = {
    "Problem": "a shop gives 5 % off and still gains 31.1 % . what would it gain without ?",
    "Rationale": '"38 % answer a"',
    "options": "a ) 38 , b ) 27.675 , c ) rs . 1,300 , d ) data inadequate , e ) none of these",
    "correct": "a",
    "annotated_formula": "subtract(divide(131.1, 0.95), 100)",
    "linear_formula": "",
    "category": "gain",
}
AQUA = {
    "question": "A grocery sells 500 bags and gains $0.25 with each. What is its profit?",
    "options": ["A)125", "B)150", "C ) $225", "D)250", "E)None of these"],
    "rationale": "500 * 0.25 = 125\nAnswer is A.",
    "correct": "A",
}
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'def twice(n: int) -> int:\n    """Twice a number."""\n',
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
    "entry_point": "twice",
}
SUITES: dict[str, dict[str, Any]] = {
    "gsm8k": GSM8K,
    "math": MATH,
    "math-500": MATH_500,
    "svamp": SVAMP,
    "mawps": MAWPS,
    "mawps-original": MAWPS_ORIGINAL,
    "mathqa": MATHQA,
    "aqua": AQUA,
    "humaneval": HUMANEVAL,
}
BFCL = {
    "id": "parallel_multiple_7",
    "question": [[{"role": "user", "content": "Play Bach, and stop at ten."}]],
    "function": [
        {
            "name": "music.play",
            "description": "Play a piece.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "artist": {"type": "string", "description": "Who wrote it."},
                    "gain": {"type": "float", "optional": True, "default": 1.0},
                    "type": {"type": "any", "description": "A property of that very name."},
                    "at": {"type": "dict", "properties": {"h": {"type": "integer"}}},
                    "keys": {"type": "array", "items": {"type": "tuple"}},
                },
                "required": ["artist"],
            },
        },
        {"name": "stop", "parameters": {"type": "dict", "properties": {}, "required": []}},
    ],
}
BFCL_ANSWER = {
    "id": "parallel_multiple_7",
    "ground_truth": [
        {"music.play": {"artist": ["Bach", "J.S. Bach"], "gain": ["", 1.0], "at": [{"h": [10]}]}},
        {"stop": {}},
    ],
}
