"""A worker that does as it is told, to see what the pool makes of it."""

import ctypes
import json
import os
import sys
import time
from typing import Any


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(text: str) -> None:
        replies.write(text)
        replies.flush()

    send(json.dumps({"ready": 1}) + "\n")
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        match request["do"]:
            case "sleep":
                time.sleep(request["for"])
            case "hang":
                while True:
                    pass
            case "exit":
                sys.exit("gone away")
            case "segfault":
                ctypes.string_at(0)
            case "memory":
                send(json.dumps({"id": request["id"], "error": "it ran out of memory"}) + "\n")
                continue
            case "garbage":
                send("no json\n")
                continue
            case "half a line":
                send('{"id"')
                os._exit(0)
            case "print":
                os.write(1, b'{"id": 0, "result": {"echo": 666}}\n')
                os.write(2, b"noise\n")
        send(json.dumps({"id": request["id"], "result": {"echo": request["echo"]}}) + "\n")


if __name__ == "__main__":
    main()
