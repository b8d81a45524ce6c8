// Sums and maxima over a work-group through shared memory. No subgroup operations: their size differs from
// device to device. The order of the sum depends on GROUP only. GROUP is a power of two.
layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;

shared float reduce_slots[GROUP];

float group_sum(float v)
{
    uint t = gl_LocalInvocationID.x;
    barrier(); // an earlier reduction's result has been read by all
    reduce_slots[t] = v;
    barrier();
    for (uint s = GROUP / 2; s > 0; s /= 2) {
        if (t < s)
            reduce_slots[t] += reduce_slots[t + s];
        barrier();
    }
    return reduce_slots[0];
}

float group_max(float v)
{
    uint t = gl_LocalInvocationID.x;
    barrier();
    reduce_slots[t] = v;
    barrier();
    for (uint s = GROUP / 2; s > 0; s /= 2) {
        if (t < s)
            reduce_slots[t] = max(reduce_slots[t], reduce_slots[t + s]);
        barrier();
    }
    return reduce_slots[0];
}
