"""The formula of a multi grader: numbers, names, `+ - * / ^`, parentheses and a few functions.

Python's parser reads it, and only what stands in the tables below is computed. Knows no grader.
"""

import ast
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

_FUNCTIONS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "min": min,
        "max": max,
        "abs": abs,
        "floor": math.floor,
        "ceil": math.ceil,
        "exp": math.exp,
        "sqrt": math.sqrt,
        "log": math.log,
    }
)
_MANY = frozenset({"min", "max"})
"""Take two values or more; the others take one."""
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = MappingProxyType(
    {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.Div: lambda a, b: a / b,
        ast.Pow: math.pow,
    }
)
_MAX_DEPTH = 50


class FormulaError(Exception):
    """One sentence: what the formula says that is not understood, or cannot be computed."""


def names_in(formula: str) -> frozenset[str]:
    """The parts that a formula uses; FormulaError if it is none."""
    names: set[str] = set()
    _check(_tree(formula), names, depth=1)
    return frozenset(names)


def compute(formula: str, values: Mapping[str, float]) -> float:
    """The value of the formula, finite; FormulaError if there is none."""
    tree = _tree(formula)
    _check(tree, set(), depth=1)
    try:
        result = float(_value(tree, values))
    except (ArithmeticError, ValueError):
        raise FormulaError(f"cannot be computed for {_shown(values)}") from None
    if not math.isfinite(result):
        raise FormulaError(f"is not finite for {_shown(values)}")
    return result


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def _tree(formula: str) -> ast.expr:
    if "**" in formula or "//" in formula:
        raise FormulaError("write ^ for a power and / for a division")
    try:
        return ast.parse(formula.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FormulaError("is no formula; check its parentheses and operators") from None


def _check(node: ast.expr, names: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise FormulaError("is nested too deeply")
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.Name(id=name):
            names.add(name)
            return
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            inner = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            inner = [left, right]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            if len(args) < 2 if name in _MANY else len(args) != 1:
                raise FormulaError(f"gives {name} the wrong number of values")
            inner = args
        case ast.Call(func=ast.Name(id=name)):
            raise FormulaError(f"uses {name[:40]}; there are {', '.join(_FUNCTIONS)}")
        case _:
            raise FormulaError("may hold numbers, graders, + - * / ^, parentheses and functions")
    for each in inner:
        _check(each, names, depth + 1)


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in values:
                raise FormulaError(f"uses {name[:40]}, which is no grader of this one")
            return values[name]
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, values)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            return float(_FUNCTIONS[name](*(_value(each, values) for each in args)))
        case _:
            raise AssertionError(node)  # checked before
