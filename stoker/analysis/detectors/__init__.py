"""Detectors: from numbers of a run to findings. Pure Python without a clock, so a recorded trace replays exactly.

A baseline never contains the point that is judged by it. Each kind has a cooldown, and what lasts is told once until it
was over. `watch.py` bundles what a worker looks at; `machine.py` is for whoever sees times and sizes. Nothing here acts.
"""
