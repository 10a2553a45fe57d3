"""All performance figures: ratios to a baseline measured in the same run, as medians.

python -m benchmarks            lists the benchmarks
python -m benchmarks training   runs one and writes benchmarks/results/training.json
"""
