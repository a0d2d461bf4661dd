"""Code in a process of its own."""

import os
import subprocess
import sys


def in_a_process(code, *arguments, **environment):
    """Run code in a fresh process that must succeed; return what it printed and said on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr
