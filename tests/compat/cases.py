"""What the suites in Python share: how cases are run and told, and what they wait and check with."""

import os
import sys
import threading
import time
import traceback

BOOTSTRAP = os.environ["BOOTSTRAP"]
CASE_SECONDS_MAX = 90
UNTIL_SECONDS_MAX = 40


def run(cases, seconds_max=CASE_SECONDS_MAX):
    """Runs [(name, function)] one after the other and tells what became of each."""
    if len(sys.argv) > 1:
        cases = [case for case in cases if case[0] in sys.argv[1:]]
    print(f"plan {len(cases)}")
    for name, test in cases:
        failures = []
        thread = threading.Thread(target=attempt, args=(test, failures), daemon=True)
        thread.start()
        thread.join(seconds_max)
        if thread.is_alive():
            failures.append(f"not done within {seconds_max} s")
        print(f"fail {name}: {failures[0]}" if failures else f"pass {name}")
    sys.stdout.flush()
    os._exit(0)


def attempt(test, failures):
    try:
        test()
    except Exception as error:
        traceback.print_exc()
        failures.append(" ".join(f"{type(error).__name__}: {error}".split())[:500])


def restart_broker():
    print("restart", flush=True)
    same("restarted", sys.stdin.readline().strip(), "the runner's answer")


_names = 0


def name(about):
    global _names
    _names += 1
    return f"{about}-{_names}"


def until(what, holds, seconds_max=UNTIL_SECONDS_MAX):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds_max} s: {what}")


def same(expected, found, what):
    if expected != found:
        raise AssertionError(f"{what}: expected {brief(expected)}, found {brief(found)}")


def brief(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}… ({len(text)} characters)"


def check(holds, what):
    if not holds:
        raise AssertionError(what)
