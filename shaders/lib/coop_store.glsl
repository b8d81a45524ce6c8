// Where a product's sums on cooperative matrices go: scaled as their row was packed, with bias and residual or as a part of a sum.
// Needs X_SCALE(row), bias, residual, y and the push constants p.
void store(uint row, uint col, float v)
{
    if (row >= p.n || col >= p.n_rows)
        return;
    uint at = row * p.m + p.row0 + col;
    v *= X_SCALE(row);
    if ((p.flags & PARAMS_PARTIAL) != 0) {
        y[gl_WorkGroupID.z * p.n * p.m + at] = v;
        return;
    }
    if ((p.flags & PARAMS_HAS_BIAS) != 0)
        v += bias[p.row0 + col];
    if ((p.flags & PARAMS_HAS_RESIDUAL) != 0)
        v += residual[at];
    y[at] = v;
}
