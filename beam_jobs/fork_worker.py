"""Ask the server at the socket `sys.argv[1]` for a worker with this process's environment, and end with it; see `forkserver`.

`sys.argv[2]` is where the worker finds modules, as JSON.
"""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    asked = {"environment": dict(os.environ), "folder": os.getcwd(), "path": json.loads(sys.argv[2])}
    connection.sendall(json.dumps(asked).encode() + b"\n")
    sys.exit((connection.recv(1) or b"\1")[0])  # nothing comes from a worker that was killed
