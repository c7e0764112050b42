"""What an agent may do: files of the workspace, shell, experiments, memory, profiling.

A tool is one pydantic model for the call (its docstring and field descriptions are what a language
model reads) and one function that does it and returns bounded text. `ToolError` is the model's to
read; everything else stops the iteration.
"""
