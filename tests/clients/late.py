"""How often the sound device of a running server found nothing to play: python late.py READY_FILE."""

import json
import sys
import urllib.request

with open(sys.argv[1]) as ready:
    server = json.load(ready)
with urllib.request.urlopen(f"http://{server['host']}:{server['port']}/metrics") as answer:
    for line in answer.read().decode().splitlines():
        if line.startswith("safa_device_underruns_total "):
            print(int(float(line.split()[1])))
