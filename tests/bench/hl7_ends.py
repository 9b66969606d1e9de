"""The two ends of MLLP that a measure needs. `python hl7_ends.py send PORT FILE CONNECTIONS`, `... floor FOLDER`.

send: each connection sends its share of the messages in FILE, one after the other, as soon as the one before has its
`AA`; prints what came of it as JSON. floor: the least a durable receiver can do: a thread a connection, which appends
each message to a file of its own, syncs it and says `AA`; it reads nothing of what it keeps. Prints its port.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from itertools import count
from pathlib import Path

START, END = b"\x0b", b"\x1c\x0d"


async def send(port: int, file: Path, connections: int) -> None:
    messages = [START + message + END for message in file.read_bytes().split(START) if message]
    took: list[float] = []

    async def sender(share: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for message in share:
            began = time.perf_counter()
            writer.write(message)
            answer = await reader.readuntil(END)
            took.append(time.perf_counter() - began)
            assert b"MSA|AA" in answer, answer
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(sender(messages[first::connections]) for first in range(connections)))
    seconds = time.perf_counter() - began
    took.sort()
    p50, p99 = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
    print(json.dumps({"per_s": len(took) / seconds, "p50_ms": p50, "p99_ms": p99}))


def floor(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        for number in count():
            connection, _ = listener.accept()
            threading.Thread(target=_keep, args=(connection, folder / str(number)), daemon=True).start()


def _keep(connection: socket.socket, path: Path) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        if received.endswith(END):
            os.write(file, received)
            os.fdatasync(file)
            connection.sendall(START + b"MSH|^~\\&\rMSA|AA|1\r" + END)
            received = b""


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", port, file, connections]:
            asyncio.run(send(int(port), Path(file), int(connections)))
        case ["floor", folder]:
            floor(Path(folder))
