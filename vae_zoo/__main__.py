"""``python -m vae_zoo``: the command ``vae-zoo``. The processes that a command starts run this file.

Python has put the working folder, or that of this file, before all others on its path, where a json.py or typing.py
would take the place of Python's own. It is taken off before anything is imported that Python has not imported itself.
"""

import os
import sys

if __name__ == "__main__":
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # the latter since Python 3.11
        del sys.path[0]
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(0, home)
    import vae_zoo  # noqa: F401  # the one that this file is of, which may not be the one that is installed

    del sys.path[0]
    if home not in sys.path:
        sys.path.append(home)
    __spec__ = None  # Lightning starts processes by the name of a module, which puts the folder back, if there is one

    from vae_zoo.cli import main

    main()
