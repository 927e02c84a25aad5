"""Render words to a sound file, with progress, and say how loud it came out.

python examples/render_to_file.py "rain on a tent, distant thunder:0.4" --seconds 30 --out tent.flac
"""

from __future__ import annotations

import argparse

import safa_stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="rain on a tent, distant thunder:0.4")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", default="tent.flac")
    options = parser.parse_args()

    # Load once, render often: loading takes most of a second.
    model = safa_stream.load_model()
    result = safa_stream.render(
        options.prompt,
        options.seconds,
        options.out,
        model=model,
        force=True,
        report=lambda progress: print(f"{progress.done:6.1f} s, {progress.real_time_factor:.1f} x real time"),
    )
    print(f"{result.file}: {result.loudness_lufs} LUFS, true peak {result.true_peak_dbtp} dBTP")
    if result.unknown_words:
        print("these words meant nothing to the model:", ", ".join(result.unknown_words))


if __name__ == "__main__":
    main()
