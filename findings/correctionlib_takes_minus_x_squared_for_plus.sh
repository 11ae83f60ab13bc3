#!/usr/bin/env bash
# correctionlib 2.9.0 (Python 3.11).
#
# Behaviour: in a Formula with parser "TFormula" a leading minus binds tighter than ^: -x^2 is (-x)^2, 9 at x = 3, and a
# Gaussian written exp(-x^2) grows. A minus between two terms does not: 0-x^2 is -9.
#
# Expected: what TFormula gives, -9, as ROOT 6.40 (package root 0.1a12) does, and Python for -x**2. A scale factor fitted
# in ROOT and stored as its formula has another value, and nothing warns. Not documented: the schema names the parser only.
#
# Output seen (x = 3; Python's value with ** for ^):
#   -x^2: correctionlib 9.0, Python -9.0
#   exp(-x^2): correctionlib 8103.08, Python 0.00012341
#   2*-x^2: correctionlib 18.0, Python -18.0
#   0-x^2: correctionlib -9.0, Python -9.0
#   -(x^2): correctionlib -9.0, Python -9.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check correctionlib==2.9.0 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import math

from correctionlib import schemav2

X = 3.0
for expression in ("-x^2", "exp(-x^2)", "2*-x^2", "0-x^2", "-(x^2)"):
    formula = schemav2.Formula(nodetype="formula", expression=expression, parser="TFormula", variables=["x"])
    correction = schemav2.Correction(
        name="scale", version=1, inputs=[schemav2.Variable(name="x", type="real")],
        output=schemav2.Variable(name="weight", type="real"), data=formula,
    )
    value = correction.to_evaluator().evaluate(X)
    python = eval(expression.replace("^", "**"), {"x": X, "exp": math.exp})
    print(f"{expression}: correctionlib {float(f'{value:.6g}')}, Python {float(f'{python:.6g}')}")
PYTHON
diff seen.txt - <<'EXPECTED'
-x^2: correctionlib 9.0, Python -9.0
exp(-x^2): correctionlib 8103.08, Python 0.00012341
2*-x^2: correctionlib 18.0, Python -18.0
0-x^2: correctionlib -9.0, Python -9.0
-(x^2): correctionlib -9.0, Python -9.0
EXPECTED
