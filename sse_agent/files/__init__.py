"""Allowed folders: open, list, identify. Blocking; called in worker threads.

names.py      bytes → parts beneath a folder: pure
beneath.py    POSIX: opens beneath a held directory, by openat2 or part by part
bypath.py     Windows: opens by path, then asks the system what was opened
mounts.py     which file systems are the kernel's own
openfile.py   an opened file and its identity
listing.py    one page of a folder
allowed.py    all of it together; translates OSError to GiveUp and TryAgain
"""

from sse_agent.files.allowed import NOT_FOUND_MESSAGE, AllowedFolders
from sse_agent.files.openfile import FileIdentity, OpenFile

__all__ = ["NOT_FOUND_MESSAGE", "AllowedFolders", "FileIdentity", "OpenFile"]
