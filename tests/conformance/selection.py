#!/usr/bin/env python3
"""Chooses the cases of a checkout of ceph/s3-tests that selection.toml covers, by reading its source.

    selection.py SUITE           prints one pytest argument for each covered case
    selection.py SUITE --why     prints how many cases are left out and what they need, as JSON

A case counts as using what it, and every function of its own file that it reaches, mentions: client
methods (all that botocore knows), named arguments, functions and calls on modules. Nothing of the
suite is run or copied.
"""

import argparse
import ast
import json
import tomllib
from collections import Counter
from pathlib import Path

import botocore.session

HERE = Path(__file__).resolve().parent
# Services whose client methods the suite calls.
SERVICES = ("s3", "iam", "sts", "sns", "sqs")


def client_methods():
    from botocore import xform_name
    session = botocore.session.get_session()
    names = {xform_name(name) for service in SERVICES for name in session.get_service_model(service).operation_names}
    return names | {"copy", "download_file", "download_fileobj", "upload_file", "upload_fileobj"}


class Mentions(ast.NodeVisitor):
    """What one function mentions."""

    def __init__(self, methods):
        self.methods = methods
        self.operations, self.arguments, self.names, self.calls = set(), set(), set(), set()

    def visit_Attribute(self, node):
        if node.attr in self.methods:
            self.operations.add(node.attr)
        if isinstance(node.value, ast.Name):
            self.calls.add(f"{node.value.id}.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node):
        self.arguments |= {keyword.arg for keyword in node.keywords if keyword.arg}
        # A paginator and a presigned URL name their operation in a text.
        for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if isinstance(value, ast.Constant) and value.value in self.methods:
                self.operations.add(value.value)
        self.generic_visit(node)

    def visit_Name(self, node):
        self.names.add(node.id)


def marks(function):
    """The names of its `@pytest.mark.NAME` decorators."""
    found = set()
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "pytest.mark":
            found.add(target.attr)
    return found


def reasons(case, functions, chosen):
    """Why this case is left out; empty when it is covered."""
    left_out, found = chosen["left_out"], set()
    found |= {left_out["markers"][mark] for mark in marks(functions[case][0]) if mark in left_out["markers"]}
    if case in left_out["cases"]:
        found.add(left_out["cases"][case])
    pending, seen = [case], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        mentions = functions[name][1]
        found |= {f"`{operation}`" for operation in mentions.operations if operation not in chosen["operations"]}
        optional = set(chosen["optional_arguments"].get(name, []))
        for kind, mentioned in (("arguments", mentions.arguments - optional), ("functions", mentions.names), ("calls", mentions.calls)):
            found |= {left_out[kind][word] for word in mentioned if word in left_out[kind]}
        pending += [name for name in mentions.names if name in functions and name not in seen]
    return found


def selected(suite):
    """Yields (file, case, reasons to leave it out) for every case of the covered files."""
    chosen = tomllib.loads((HERE / "selection.toml").read_text())
    methods = client_methods()
    for file in chosen["files"]:
        path = Path("s3tests/functional") / file
        functions = {}
        for node in ast.parse((suite / path).read_text()).body:
            if isinstance(node, ast.FunctionDef):
                mentions = Mentions(methods)
                for statement in node.body:
                    mentions.visit(statement)
                functions[node.name] = (node, mentions)
        for name in functions:
            if name.startswith("test_"):
                yield path, name, reasons(name, functions, chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--why", action="store_true")
    options = parser.parse_args()
    cases = list(selected(options.suite))
    if options.why:
        # A case that needs several things counts under each.
        needs = Counter(reason for _, _, why in cases for reason in why)
        print(json.dumps({"cases": sum(bool(why) for _, _, why in cases), "needs": dict(needs.most_common())}))
    else:
        for path, name, why in cases:
            if not why:
                print(f"{path}::{name}")


if __name__ == "__main__":
    main()
