"""Run one attack and say, on the last line, what came of it."""

import importlib
import json
import os
import sys


def main() -> None:
    """Run the attack named on the command line as `module.function`."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    module, _, function = sys.argv[1].partition(".")
    attack = getattr(importlib.import_module(module), function)
    try:
        achieved, stopped = attack(), "found nothing to take"
    except Exception as error:  # whatever stops an attack is the answer
        achieved, stopped = None, f"{type(error).__name__}: {error}"
    sys.stdout.write("\n" + json.dumps({"achieved": achieved, "stopped": stopped}) + "\n")


if __name__ == "__main__":
    main()
