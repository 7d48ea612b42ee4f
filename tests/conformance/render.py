#!/usr/bin/env python3
"""Renders the conformance part of docs/compatibility.md from results.json and expected.toml.

    render.py            writes it
    render.py --check    fails when the page is not what would be written, or when results and
                         reasons do not belong together

The page has two parts between markers. This script owns what stands between `conformance:begin` and
`conformance:end`; the table of operations is rendered elsewhere, from the table the server routes by.
The text around them is written by hand.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

from results import expected

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
PART = re.compile(r"(<!-- conformance:begin -->\n).*?(<!-- conformance:end -->)", re.DOTALL)


def part(results, reasons):
    cases = results["cases"]
    passed = sum(outcome == "passed" for outcome in cases.values())
    skipped = sorted(case for case, outcome in cases.items() if outcome == "skipped")
    failing = defaultdict(list)
    for case, outcome in cases.items():
        if outcome == "failed":
            failing[reasons[case]].append(case)
    lines = [
        f"[ceph/s3-tests](https://github.com/ceph/s3-tests) at `{results['commit'][:12]}`: **{passed} of {len(cases)}** "
        f"covered cases pass.",
        "",
    ]
    if failing:
        lines += ["| cases that fail | why |", "|---|---|"]
        lines += [f"| {' '.join(f'`{case}`' for case in names)} | {why} |" for why, names in sorted(failing.items())]
        lines += [""]
    if skipped:
        lines += ["Skipped by the suite itself: " + " ".join(f"`{case}`" for case in skipped) + ".", ""]
    left_out = results["left_out"]
    needs = ", ".join(f"{need} ({count})" for need, count in sorted(left_out["needs"].items(), key=lambda pair: (-pair[1], pair[0])))
    lines += [f"{left_out['cases']} cases were not run, because they need what is not built yet: {needs}.", ""]
    return "\n".join(lines)


def main():
    recorded = HERE / "results.json"
    if not recorded.exists():
        sys.exit(f"{recorded} is missing: tests/conformance/run writes it")
    results = json.loads(recorded.read_text())
    reasons = expected()
    stray = [case for case, outcome in results["cases"].items() if (outcome == "failed") != (case in reasons)]
    stray += [case for case in reasons if case not in results["cases"]]
    if stray:
        sys.exit(f"results.json and expected.toml do not agree on {', '.join(stray)}")
    old = PAGE.read_text()
    new, count = PART.subn(lambda found: found[1] + part(results, reasons) + found[2], old)
    if count != 1:
        sys.exit(f"{PAGE} has {count} parts between conformance:begin and conformance:end, not one")
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new)
    elif new != old:
        sys.exit(f"{PAGE} is not what results.json says: run tests/conformance/render.py")


if __name__ == "__main__":
    main()
