"""fnn beside its peers: one harness, one file per workload. `python -m benchmarks --list`"""
