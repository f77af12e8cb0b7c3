// Ring buffer of flows in whole steps of 1/16 px, their Gram matrix and weighted sums.
// A step fits into one signed byte, so a slot of the ring is a quarter of a float's, and every dot
// product is a whole number: exact, whatever the order.

#define GRAM_WORDS 16384   // words of four steps of one block: 2^16 products below 2^14 fit an int

// Sum over the block's 256 threads; valid in thread 0.
__device__ int sum_over_block(int value)
{
    __shared__ int warps[8];
    for (int d = 16; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffffu, value, d);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    int sum = 0;
    if (threadIdx.x == 0) for (int i = 0; i < 8; ++i) sum += warps[i];
    return sum;
}

// Twin of edge.vision.flow_window.to_steps, bit-equal; zeros fill the slot up to whole words.
extern "C" __global__ void flow_steps(const float *__restrict__ flow,
                                      signed char *__restrict__ steps, int values, int padded)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= padded) return;
    const float step = t < values ? rintf(flow[t] * 16.0f) : 0.0f;
    steps[t] = (signed char)fminf(fmaxf(step, -128.0f), 127.0f);
}

// Dot products of one slot with every slot, exact. Block b sums chunk b % chunks of slot
// b / chunks into partial[b]; 256 threads.
extern "C" __global__ void gram_row(const int *__restrict__ ring, int *__restrict__ partial,
                                    int words, int chunks, int newest)
{
    const int *one = ring + blockIdx.x / chunks * words;
    const int *other = ring + newest * words;
    const int begin = blockIdx.x % chunks * GRAM_WORDS, end = min(begin + GRAM_WORDS, words);
    int sum = 0;
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) sum = __dp4a(one[i], other[i], sum);
    sum = sum_over_block(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// Weighted sums over the slots: (u, v) by one set of weights, the magnitude by another, so that
// every representation of edge.vision.dynamic_flow is one launch. field: pixels x 3.
extern "C" __global__ void motion_field(const signed char *__restrict__ ring,
                                        const float *__restrict__ weights,
                                        const float *__restrict__ magnitude_weights,
                                        float *__restrict__ field, int pixels, int padded,
                                        int slots)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    float u = 0.0f, v = 0.0f, other_u = 0.0f, other_v = 0.0f;
    for (int s = 0; s < slots; ++s) {
        const signed char *slot = ring + s * padded + 2 * p;
        u += weights[s] * (float)slot[0];
        v += weights[s] * (float)slot[1];
        other_u += magnitude_weights[s] * (float)slot[0];
        other_v += magnitude_weights[s] * (float)slot[1];
    }
    field[3 * p] = u;
    field[3 * p + 1] = v;
    field[3 * p + 2] = sqrtf(other_u * other_u + other_v * other_v);
}

// The step from a flow on the 4 px grid to what is carried: px per frame -> px per second, and
// cells per frame.
extern "C" __global__ void velocity(const float *__restrict__ flow, float *__restrict__ velocity,
                                    float *__restrict__ cells, int values, float seconds,
                                    float cell_px)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= values) return;
    velocity[t] = flow[t] / seconds;
    cells[t] = flow[t] / cell_px;
}

// Twin of edge.vision.carry.Carried: the mean goes along with the flow, then takes `share` of the
// new values (0: none came). OpenCV warps one and three channels exactly and two channels on
// 1/32 steps with weights, so this does as well.
extern "C" __global__ void carry(const float *__restrict__ mean, const float *__restrict__ flow,
                                 const float *__restrict__ values, float *__restrict__ result,
                                 int rows, int columns, int channels, int warp, float share)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= rows * columns) return;
    float x = (float)(p % columns), y = (float)(p / columns);
    if (warp) { x -= flow[2 * p]; y -= flow[2 * p + 1]; }
    if (channels == 2) {
        x = rintf(x * 32.0f) / 32.0f;
        y = rintf(y * 32.0f) / 32.0f;
    }
    const float x_floor = floorf(x), y_floor = floorf(y);
    const float sx = x - x_floor, sy = y - y_floor;
    // Far outside, a float would not fit an int.
    const int left = (int)fminf(fmaxf(x_floor, -1.0f), (float)columns);
    const int top = (int)fminf(fmaxf(y_floor, -1.0f), (float)rows);
    const int x0 = min(max(left, 0), columns - 1), x1 = min(max(left + 1, 0), columns - 1);
    const int y0 = min(max(top, 0), rows - 1), y1 = min(max(top + 1, 0), rows - 1);
    for (int c = 0; c < channels; ++c) {
        const float a = mean[(y0 * columns + x0) * channels + c];
        const float b = mean[(y0 * columns + x1) * channels + c];
        const float d = mean[(y1 * columns + x0) * channels + c];
        const float e = mean[(y1 * columns + x1) * channels + c];
        float there;
        if (channels == 2) {
            there = a * ((1.0f - sx) * (1.0f - sy)) + b * (sx * (1.0f - sy))
                    + d * ((1.0f - sx) * sy) + e * (sx * sy);
        } else {
            const float above = fmaf(sx, b - a, a), below = fmaf(sx, e - d, d);
            there = fmaf(sy, below - above, above);
        }
        const int t = p * channels + c;
        result[t] = share > 0.0f ? there + share * (values[t] - there) : there;
    }
}

// Length of a velocity, through double as NumPy's hypot, and 1 where it is above the floor.
extern "C" __global__ void speed(const float *__restrict__ velocity, float *__restrict__ speed,
                                 float *__restrict__ moving, int count, float floor)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= count) return;
    const double u = velocity[2 * p], v = velocity[2 * p + 1];
    const float value = (float)sqrt(u * u + v * v);
    speed[p] = value;
    moving[p] = value > floor ? 1.0f : 0.0f;
}

// Twin of edge.vision.speed.largest_nearby, bit-equal: the largest of reach x reach cells around
// every second cell.
extern "C" __global__ void largest_nearby(const float *__restrict__ speed,
                                          float *__restrict__ largest, int rows, int columns,
                                          int reach, int step)
{
    const int across = (columns + step - 1) / step;
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= across * ((rows + step - 1) / step)) return;
    const int x = t % across * step, y = t / across * step, half = reach / 2;
    float best = speed[y * columns + x];
    for (int i = max(y - half, 0); i <= min(y + half, rows - 1); ++i)
        for (int j = max(x - half, 0); j <= min(x + half, columns - 1); ++j)
            best = fmaxf(best, speed[i * columns + j]);
    largest[t] = best;
}
