"""Steer a running server over OSC: change the words, turn it down at a set time, and print what the server says.

safa-stream serve --prompt "rain on a tent"
python examples/osc/steer.py "rain on a tent, distant thunder:0.4" --gain -6
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg
from pythonosc.udp_client import SimpleUDPClient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="rain on a tent, distant thunder:0.4")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9600, help="the server's OSC port")
    parser.add_argument("--token", help="the server's token, where it listens beyond this machine")
    parser.add_argument("--gain", type=float, default=-6.0, help="dB, from one second from now on")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen")
    options = parser.parse_args()

    client = SimpleUDPClient(options.host, options.port)
    if options.token:
        client.send_message("/safa/auth", options.token)
    # Events and answers from now on, and twice a second where the session is and how loud.
    client.send_message("/safa/subscribe", ["", 0, 2.0])
    client.send_message("/safa/prompt", [options.prompt, 3.0])
    # A bundle with a time tag is carried out at that time, on the clock of the samples.
    # The library's annotation is a whole number; its documentation has seconds with fractions, and it takes those.
    due: Any = time.time() + 1
    bundle = OscBundleBuilder(due)
    bundle.add_content(build_msg("/safa/master/gain", [options.gain, 0.5]))
    client.send(bundle.build())

    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        packet = client.receive(0.5)
        if packet:
            message = OscMessage(packet)
            print(message.address, *message.params, flush=True)
    client.send_message("/safa/unsubscribe", [])


if __name__ == "__main__":
    main()
