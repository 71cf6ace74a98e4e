"""The line to the node carries whole lines, and a node that does not read stalls no process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from storage.runtime.reporting import Reports


def test_each_report_is_one_line_of_json() -> None:
    """In order, with the fields that were said."""
    reader, writer = os.pipe()
    reports = Reports(writer)
    reports.say(loading=0.5)
    reports.say(failed="no such\nfile")
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [json.loads(line) for line in lines] == [
            {"loading": 0.5},
            {"failed": "no such\nfile"},
        ]


def test_a_node_that_does_not_read_loses_whole_lines_and_stalls_no_process() -> None:
    """What fits into the pipe can be read later, line by line."""
    reader, writer = os.pipe()
    reports = Reports(writer)
    for number in range(20_000):
        reports.say(beat=number)
    os.close(writer)
    with os.fdopen(reader) as lines:
        beats = [json.loads(line)["beat"] for line in lines]
    assert 100 < len(beats) < 20_000
    assert beats == list(range(len(beats)))


def test_a_node_that_is_gone_ends_no_process() -> None:
    """The worker keeps serving the gateway."""
    reader, writer = os.pipe()
    os.close(reader)
    Reports(writer).say(beat=1)
    os.close(writer)


def test_what_is_printed_goes_to_standard_error_once_the_reports_have_standard_output() -> None:
    """Whatever libllama writes, the node's line stays clean."""
    program = (
        "import os\nfrom storage.runtime.reporting import Reports\n"
        "reports = Reports.take_stdout()\n"
        "os.write(1, b'chatter')\nreports.say(ready=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b'{"ready":true}\n', b"chatter")
