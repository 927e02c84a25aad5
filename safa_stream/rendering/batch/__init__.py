"""Many renders from one list: `safa-stream render --batch JOBS.jsonl`, resumable, each file complete or absent."""
