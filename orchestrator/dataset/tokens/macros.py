"""Which macros of a template make the same text of the same arguments, whatever else is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jinja2 import nodes

#: Global functions that give the same for the same arguments, and change nothing.
_PURE_GLOBALS = frozenset({"namespace", "dict", "range", "raise_exception", "strftime_now"})
_IMPURE_FILTERS = frozenset({"random"})


def pure_macros(tree: nodes.Template) -> frozenset[str]:
    """Names of the macros whose text depends on their arguments alone.

    Strict: a macro that may read or change any name which it has not set itself before does not
    count, and neither does one that calls another that does not.
    """
    macros = list(tree.find_all(nodes.Macro))
    names = [macro.name for macro in macros]
    # Also a name that is set elsewhere, as a variable, may hold something else when it is called.
    variables = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    pure = {
        macro.name
        for macro in macros
        if names.count(macro.name) == 1 and macro in tree.body and macro.name not in variables
    }
    while True:
        impure = {
            macro.name for macro in macros if macro.name in pure and not _is_pure(macro, pure)
        }
        if not impure:
            return frozenset(pure)
        pure -= impure


def _is_pure(macro: nodes.Macro, pure: set[str]) -> bool:
    """Whether a macro uses only its parameters, what it sets itself, and pure functions."""
    parameters = {argument.name for argument in macro.args}
    free = set(_free_names([*macro.defaults, *macro.body], parameters))
    filters = {node.name for node in macro.find_all(nodes.Filter)}
    return (
        free <= pure | _PURE_GLOBALS
        and not filters & _IMPURE_FILTERS
        and not any(macro.find_all((nodes.CallBlock, nodes.Include, nodes.Import, nodes.Macro)))
    )


def _free_names(body: Iterable[nodes.Node], known: set[str]) -> Iterator[str]:
    """Names that are read, or whose attributes are set, where they may not be set yet."""
    known = set(known)
    for node in body:
        if isinstance(node, nodes.Name | nodes.NSRef):
            if node.name not in known:
                yield node.name
        elif isinstance(node, nodes.Assign):
            yield from _free_names([node.node], known)
            yield from _set(node.target, known)
        elif isinstance(node, nodes.AssignBlock):
            yield from _free_names(node.body, known)
            yield from _set(node.target, known)
        elif isinstance(node, nodes.For):
            yield from _free_names([node.iter], known)
            inside = known | {"loop"}
            yield from _set(node.target, inside)
            yield from _free_names([*([node.test] if node.test else []), *node.body], inside)
            yield from _free_names(node.else_, known)
        elif isinstance(node, nodes.If):
            # What one branch sets does not count after it: another branch may have been taken.
            yield from _free_names([node.test], known)
            for branch in (node.body, node.elif_, node.else_):
                yield from _free_names(branch, known)
        else:
            yield from _free_names(node.iter_child_nodes(), known)


def _set(target: nodes.Node, known: set[str]) -> Iterator[str]:
    """Add the names that an assignment sets; gives those of namespaces that it changes."""
    if isinstance(target, nodes.Name):
        known.add(target.name)
    else:
        yield from (node.name for node in target.find_all(nodes.NSRef) if node.name not in known)
        if isinstance(target, nodes.NSRef) and target.name not in known:
            yield target.name
        known.update(node.name for node in target.find_all(nodes.Name))
