"""What holds for all tests."""

import signal

from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")

# Some tests end a program with Ctrl-C. A shell that starts the tests in the background has them
# ignore that, and every program that they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
