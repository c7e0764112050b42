"""How results are judged: audit steps, rules, probes, significance; and the suites that judge the judges."""
