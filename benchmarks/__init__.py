"""Measurements of tablevault, each against what it is compared with, in interleaved runs. `python -m benchmarks`.

__main__              the command: runs benchmarks by name, writes the results into README.md
figures, machine      what a benchmark hands over, and how it is shown; where it was measured
cache, sets           files kept between runs; backup sets as AWS writes them, in a folder
aws                   AWS in this process, for all that is not what is measured
stand_in/             BatchWriteItem and GetObject in C, and the C client that is the limit
write_path/, …        one benchmark each; its `measure` is called by the command
"""
