// Matrices as their fragments: for each step of TK values of k and each block of rows, what every invocation of a subgroup holds of
// that cooperative matrix, EACH eights of f16 an invocation, side by side. Whoever lays them out and whoever reads them load the same
// kind of matrix, so that which invocation holds what stays the driver's business; fragments.comp asks it only how much.
// Of a product's left matrix an eight is kept in the order in which NVIDIA's instruction takes it: words 1 and 2 change places.

// Where the fragment of step k and block b begins, of n_blocks blocks a step.
uint fragment_at(uint k, uint b, uint n_blocks, uint each, uint lanes)
{
    return (k * n_blocks + b) * each * lanes;
}

// Where pair i of a row's neighbours goes, so that the `run` pairs of a row that follow each other come to one of the `sharing` invocations
// that hold a row: in a step of tk values an invocation holds pairs c, c + sharing, c + 2 sharing … of the row, as gpu/probe.c has found.
uint fragment_pair(uint i, uint run, uint sharing, uint tk)
{
    uint turn = i / (run * sharing), c = i / run % sharing, at = i % run;
    uint of_step = tk / 2 / sharing; // pairs that an invocation holds of a step
    return turn * run * sharing + at / of_step * (tk / 2) + at % of_step * sharing + c;
}

#define FRAGMENT_GET(m, e, v)                                                                                          \
    {                                                                                                                  \
        v.x = packFloat2x16(f16vec2(m[8 * (e)], m[8 * (e) + 1]));                                                       \
        v.y = packFloat2x16(f16vec2(m[8 * (e) + 2], m[8 * (e) + 3]));                                                   \
        v.z = packFloat2x16(f16vec2(m[8 * (e) + 4], m[8 * (e) + 5]));                                                   \
        v.w = packFloat2x16(f16vec2(m[8 * (e) + 6], m[8 * (e) + 7]));                                                   \
    }
#define FRAGMENT_SET(m, e, v)                                                                                          \
    {                                                                                                                  \
        f16vec2 a_ = unpackFloat2x16(v.x), b_ = unpackFloat2x16(v.y), c_ = unpackFloat2x16(v.z), d_ = unpackFloat2x16(v.w); \
        m[8 * (e)] = a_.x, m[8 * (e) + 1] = a_.y, m[8 * (e) + 2] = b_.x, m[8 * (e) + 3] = b_.y;                         \
        m[8 * (e) + 4] = c_.x, m[8 * (e) + 5] = c_.y, m[8 * (e) + 6] = d_.x, m[8 * (e) + 7] = d_.y;                     \
    }
