"""How a baseline's program speaks: JSON lines. It stands alone: old environments have no diffpc, and Python 3.9.

First the settings come in; {"ready": {...}} goes out once the networks are loaded. Then every task is answered by
{"seconds": {...}} when its picture is written, or by {"error": "..."} when there is none.
"""

import json
import sys
import time


class Refused(Exception):
    """A task that cannot be done, for instance for want of a face; the process goes on."""


def serve(load):
    """Answer the lines of standard input.

    Args:
        load: settings (a dict) -> (description, draw), where draw(task) writes task["output"] or raises Refused.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print; the answers' channel stays clean

    def answer(values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    description, draw = load(json.loads(sys.stdin.readline()))
    answer({"ready": description})
    for line in sys.stdin:
        started = time.perf_counter()
        try:
            draw(json.loads(line))
        except Refused as error:
            answer({"error": str(error)})
        else:
            answer({"seconds": {"draw": round(time.perf_counter() - started, 4)}})


def largest(faces):
    """Of insightface's faces the largest.

    Raises:
        Refused: if there is none.
    """
    if not faces:
        raise Refused("no face found in the reference")
    return max(faces, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
