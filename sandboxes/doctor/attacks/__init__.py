"""Programs that try to break out. They run inside a sandbox and use the standard library only.

`python ATTACKS_FOLDER/__main__.py MODULE.FUNCTION` runs one. A function returns what it achieved,
or `None` (or raises) when it was stopped; the doctor also looks at what is left outside, which is
what counts. Each is bounded: a sandbox that does not hold must not cost the user his machine.
"""
