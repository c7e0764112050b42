"""What an agent may do: files of the workspace, shell, experiments, memory, profiling."""
