#!/usr/bin/env python3
"""Judges what pytest wrote down of a conformance run, against expected.toml.

    results.py JUNIT.xml                                       judges only
    results.py JUNIT.xml --record results.json --suite-commit HASH --left-out JSON

A case has failed, passed or been skipped by the suite itself; an error outside of the case, in the
suite's own cleaning up, counts as a failure of the case. The status is 1 when a case failed for which
expected.toml gives no reason, or passed though it is listed there; a listed case that no longer exists
is such an error too when everything was run.
"""

import argparse
import json
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

EXPECTED = Path(__file__).resolve().parent / "expected.toml"


def expected():
    """The listed cases and why each fails. A case stands there once."""
    reasons = {}
    for group in tomllib.loads(EXPECTED.read_text()).get("failing", []):
        for case in group["cases"]:
            if case in reasons:
                sys.exit(f"expected.toml lists {case} twice")
            reasons[case] = group["because"]
    return reasons


def outcomes(junit):
    """The outcome of each case, and the first line of what went wrong for those that failed."""
    found, errors = {}, {}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = case.get("name")
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        if wrong is not None:
            found[name] = "failed"
            errors[name] = (wrong.get("message") or "").split("\n")[0][:200]
        else:
            found.setdefault(name, "skipped" if case.find("skipped") is not None else "passed")
    return dict(sorted(found.items())), errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("junit")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--suite-commit")
    parser.add_argument("--left-out", type=json.loads, help="what selection.py --why prints")
    options = parser.parse_args()

    found, errors = outcomes(options.junit)
    reasons = expected()
    faults = []
    for case, outcome in found.items():
        if outcome == "failed" and case not in reasons:
            faults.append(f"{case} failed: {errors[case]}")
        if outcome == "passed" and case in reasons:
            faults.append(f"{case} passed, but expected.toml lists it: {reasons[case]}")
    if options.record:
        faults += [f"{case} is listed in expected.toml but was not run" for case in reasons if case not in found]
        document = {"suite": "ceph/s3-tests", "commit": options.suite_commit, "left_out": options.left_out, "cases": found}
        options.record.write_text(json.dumps(document, indent=1) + "\n")

    for fault in faults:
        print(fault)
    tally = {outcome: list(found.values()).count(outcome) for outcome in ("passed", "failed", "skipped")}
    print(f"{tally['passed']} passed, {tally['failed']} failed, {tally['skipped']} skipped by the suite")
    sys.exit(1 if faults or not tally["passed"] else 0)


if __name__ == "__main__":
    main()
