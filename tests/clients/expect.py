"""What the Python workflows share: comparing, and running the steps of a script in order."""

import os
import sys
import time

ENDPOINT = os.environ["ENDPOINT"]
ADDRESS = os.environ["ENDPOINT_ADDRESS"]
ACCESS_KEY = os.environ["ACCESS_KEY"]
SECRET_KEY = os.environ["SECRET_KEY"]


def equal(what, wanted, actual):
    """Ends the workflow unless both are the same."""
    if wanted != actual:
        sys.exit(f"{what} is not as expected\n    wanted: {brief(wanted)}\n    actual: {brief(actual)}")


def brief(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"


def fails(what, code_of, wanted, action):
    """Ends the workflow unless `action` raises an exception for which `code_of` gives `wanted`."""
    try:
        action()
    except Exception as error:  # each client has its own class
        equal(what, wanted, code_of(error))
    else:
        sys.exit(f"{what}: expected {wanted}, but it succeeded")


def until(what, seconds, probe):
    """The first true value of `probe`, asked again until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"gave up after {seconds} s waiting for {what}")


def pattern(size, salt=0):
    """`size` bytes that differ from place to place, so that a shifted or repeated block is seen."""
    block = b"".join((number * 2654435761 + salt & 0xFFFFFFFF).to_bytes(4, "big") for number in range(16384))
    whole = b"".join(bytes([(index + salt) % 251]) + block[1:] for index in range(size // len(block) + 1))
    return whole[:size]


def run(*steps):
    for step in steps:
        print(f"  {step.__name__.replace('_', ' ')}", file=sys.stderr, flush=True)
        step()
