"""GPU and CPU kernels, scored by how close they come to the speed of light of the device.

The files are those of SOL-ExecBench, read and written as they are: `definition.py`, `workload.py`,
`solution.py`, `trace.py`; `problem.py` reads a folder of them. `evaluator.py` measures a solution:
`worker.py` runs it in a sandbox, `referee.py` makes the hidden inputs and judges the outputs in a
process that never executes candidate code. `roofline.py` and `ceilings.py` say how fast it could
be.
"""
