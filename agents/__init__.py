"""Who does the research: the state machine, its four roles, brains, search policies and prompts."""
