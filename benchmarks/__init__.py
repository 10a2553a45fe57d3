"""Every performance figure: ratios against a baseline measured in the same run, with medians.

python -m benchmarks            lists the benchmarks
python -m benchmarks training   runs one and writes benchmarks/results/training.json
"""
