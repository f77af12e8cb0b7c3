// Dense inverse search (Kroeger et al., ECCV 2016), in the form that OpenCV's DISOpticalFlow gives
// it: patches of 8 px every 4 px, mean-normalised, spatial propagation within eight stripes in a
// forward and a backward pass. Sums run in the order of OpenCV's four-lane vectors, so that the
// patch distances agree bit for bit where neither side contracts a product and a sum.

#define PATCH 8
#define STRIDE 4
#define STRIPES 8
#define LANES 4            // threads of one patch; lane l owns columns l and l + 4
#define BORDER 16.0f       // the search may leave the picture; it then reads the repeated edge
#define TINY 0.001f
#define HUGE_DISTANCE 1e10f

// Sums over 8 neighbours in a row, for each patch column: xx, yy, xy, x, y, five planes of
// rows x across.
// Whole numbers below 2^24, so the order of the additions does not matter.
extern "C" __global__ void tensor_rows(const short *__restrict__ dx, const short *__restrict__ dy,
                                       float *__restrict__ sums, int width, int height, int across)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    const int plane = height * across;
    if (t >= plane) return;
    const int first = t / across * width + t % across * STRIDE;
    int xx = 0, yy = 0, xy = 0, x = 0, y = 0;
    for (int j = 0; j < PATCH; ++j) {
        const int gx = dx[first + j], gy = dy[first + j];
        xx += gx * gx; yy += gy * gy; xy += gx * gy; x += gx; y += gy;
    }
    sums[t] = (float)xx;
    sums[plane + t] = (float)yy;
    sums[2 * plane + t] = (float)xy;
    sums[3 * plane + t] = (float)x;
    sums[4 * plane + t] = (float)y;
}

// The same sums over 8 rows, as a running sum down each column: beyond 2^24 it rounds, and it must
// round as OpenCV's running sum does. One thread walks one column of one plane.
extern "C" __global__ void tensor_columns(const float *__restrict__ sums,
                                          float *__restrict__ tensor, int height, int across,
                                          int down)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= 5 * across) return;
    const float *column = sums + t / across * height * across + t % across;
    float *out = tensor + t / across * down * across + t % across;
    float sum = 0.0f;
    for (int y = 0; y < PATCH; ++y) sum += column[y * across];
    out[0] = sum;
    int row = 1;
    for (int y = PATCH; y < height; ++y) {
        sum += column[y * across] - column[(y - PATCH) * across];
        if ((y - PATCH + 1) % STRIDE == 0) out[row++ * across] = sum;
    }
}

struct Patch {
    const unsigned char *first, *second;  // the two pictures, width x height
    const short *dx, *dy;                 // gradient of the first one
    int x, y;                             // corner of the patch in the first picture
    int width, height;
    int lane;
    unsigned lanes;                       // mask of the patch's threads in their warp
};

struct Match { float distance, push_x, push_y; };

// Sum over the four lanes as (a0 + a2) + (a1 + a3); every lane gets the same bits.
__device__ float sum_over_lanes(float value, unsigned lanes)
{
    value = value + __shfl_xor_sync(lanes, value, 2);
    return value + __shfl_xor_sync(lanes, value, 1);
}

// Compare the patch with the second picture at displacement (u, v). Differences are bilinear and
// free of their mean. grad_x and grad_y: sums of the gradient over the patch.
__device__ Match compare(const Patch &p, float u, float v, float grad_x, float grad_y)
{
    const float low = BORDER - PATCH + 1.0f;
    const float y = fminf(fmaxf((float)p.y + v + BORDER, low), BORDER + p.height - 1.0f);
    const float x = fminf(fmaxf((float)p.x + u + BORDER, low), BORDER + p.width - 1.0f);
    const float y_floor = floorf(y), x_floor = floorf(x);
    const float w11 = (y - y_floor) * (x - x_floor);
    const float w10 = (y - y_floor) * (x_floor + 1.0f - x);
    const float w01 = (y_floor + 1.0f - y) * (x - x_floor);
    const float w00 = (y_floor + 1.0f - y) * (x_floor + 1.0f - x);
    const int top = (int)y - (int)BORDER, left = (int)x - (int)BORDER + p.lane;
    const int right_edge = p.width - 1, bottom_edge = p.height - 1;
    const int c0 = min(max(left, 0), right_edge), c1 = min(max(left + 1, 0), right_edge);
    const int c4 = min(max(left + 4, 0), right_edge), c5 = min(max(left + 5, 0), right_edge);

    const unsigned char *row = p.second + min(max(top, 0), bottom_edge) * p.width;
    float a0 = row[c0], a1 = row[c1], a4 = row[c4], a5 = row[c5];
    float sum = 0.0f, squares = 0.0f, along_x = 0.0f, along_y = 0.0f;
    int here = p.y * p.width + p.x + p.lane;
    for (int i = 0; i < PATCH; ++i, here += p.width) {
        row = p.second + min(max(top + i + 1, 0), bottom_edge) * p.width;
        const float b0 = row[c0], b1 = row[c1], b4 = row[c4], b5 = row[c5];
        const float l = w00 * a0 + w01 * a1 + w10 * b0 + w11 * b1 - (float)p.first[here];
        const float r = w00 * a4 + w01 * a5 + w10 * b4 + w11 * b5 - (float)p.first[here + 4];
        along_x += l * (float)p.dx[here] + r * (float)p.dx[here + 4];
        along_y += l * (float)p.dy[here] + r * (float)p.dy[here + 4];
        squares += l * l + r * r;
        sum += l + r;
        a0 = b0; a1 = b1; a4 = b4; a5 = b5;
    }
    along_x = sum_over_lanes(along_x, p.lanes);
    along_y = sum_over_lanes(along_y, p.lanes);
    sum = sum_over_lanes(sum, p.lanes);
    squares = sum_over_lanes(squares, p.lanes);
    const float n = (float)(PATCH * PATCH);
    Match m;
    m.push_x = along_x - sum * grad_x / n;
    m.push_y = along_y - sum * grad_y / n;
    m.distance = squares - sum * sum / n;
    return m;
}

// Displacement of one patch: the best of its own and two neighbours' vectors, then gradient
// descent with the inverse structure tensor until the distance stops falling.
__device__ void descend(const Patch &p, const float *tensor, int plane, int t, int steps,
                        float &u, float &v)
{
    const float xx = tensor[t], yy = tensor[plane + t], xy = tensor[2 * plane + t];
    const float grad_x = tensor[3 * plane + t], grad_y = tensor[4 * plane + t];
    float determinant = xx * yy - xy * xy;
    if (fabsf(determinant) < TINY) determinant = TINY;
    const float inverse_xx = yy / determinant, inverse_xy = -xy / determinant;
    const float inverse_yy = xx / determinant;
    float new_u = u, new_v = v, before = HUGE_DISTANCE;
    for (int i = 0; i < steps; ++i) {
        const Match m = compare(p, new_u, new_v, grad_x, grad_y);
        new_u -= inverse_xx * m.push_x + inverse_xy * m.push_y;
        new_v -= inverse_xy * m.push_x + inverse_yy * m.push_y;
        if (m.distance >= before) break;
        before = m.distance;
    }
    // A vector that ran further than a patch from where it began is lost, not found.
    const double du = (double)(new_u - u), dv = (double)(new_v - v);
    if (sqrt(du * du + dv * dv) <= (double)PATCH) { u = new_u; v = new_v; }
}

// One block is one stripe of patch rows, four threads are one row of it. A patch needs the results
// of its neighbours before it in its row and in the row before, so row r runs r patches behind
// row 0: the order of a raster scan, and its result, with the rows at work together.
extern "C" __global__ void __launch_bounds__(256) inverse_search(
    const unsigned char *__restrict__ first, const unsigned char *__restrict__ second,
    const short *__restrict__ dx, const short *__restrict__ dy, const float *__restrict__ tensor,
    const float *__restrict__ dense_u, const float *__restrict__ dense_v, float *sparse_u,
    float *sparse_v, int width, int height, int across, int down, int steps)
{
    const int rows = (down + STRIPES - 1) / STRIPES;
    const int begin = min((int)blockIdx.x * rows, down), end = min(begin + rows, down);
    const int row = threadIdx.x / LANES;
    const int plane = across * down;
    Patch p;
    p.first = first; p.second = second; p.dx = dx; p.dy = dy;
    p.width = width; p.height = height;
    p.lane = threadIdx.x % LANES;
    p.lanes = 0xfu << (threadIdx.x % 32 / LANES * LANES);

    for (int pass = 0; pass < 2; ++pass) {
        const int step = pass == 0 ? 1 : -1;
        for (int wave = 0; wave < across + rows - 1; ++wave) {
            const int place = wave - row;             // patches done in this row
            if (place >= 0 && place < across && row < end - begin) {
                const int js = step > 0 ? place : across - 1 - place;
                const int is = step > 0 ? begin + row : end - 1 - row;
                const int t = is * across + js;
                p.x = js * STRIDE;
                p.y = is * STRIDE;
                float u, v;
                if (pass == 0) {
                    const int middle = (p.y + PATCH / 2) * width + p.x + PATCH / 2;
                    u = dense_u[middle]; v = dense_v[middle];
                } else {
                    u = sparse_u[t]; v = sparse_v[t];
                }
                float best = compare(p, u, v, 0.0f, 0.0f).distance;
                if (place > 0) {
                    const float other_u = sparse_u[t - step], other_v = sparse_v[t - step];
                    const float distance = compare(p, other_u, other_v, 0.0f, 0.0f).distance;
                    if (distance < best) { best = distance; u = other_u; v = other_v; }
                }
                if (row > 0) {
                    const int up = t - step * across;
                    const float other_u = sparse_u[up], other_v = sparse_v[up];
                    const float distance = compare(p, other_u, other_v, 0.0f, 0.0f).distance;
                    if (distance < best) { best = distance; u = other_u; v = other_v; }
                }
                descend(p, tensor, plane, t, steps, u, v);
                if (p.lane == 0) { sparse_u[t] = u; sparse_v[t] = v; }
            }
            __syncthreads();
        }
    }
}

// Flow of every pixel: mean of the patches over it, weighted by how well each one explains it.
extern "C" __global__ void densify(const float *__restrict__ sparse_u,
                                   const float *__restrict__ sparse_v,
                                   const unsigned char *__restrict__ first,
                                   const unsigned char *__restrict__ second,
                                   float *__restrict__ dense_u, float *__restrict__ dense_v,
                                   int width, int height, int across, int down)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height) return;
    const int x = t % width, y = t / width;
    const int last_row = min(y / STRIDE, down - 1), last_column = min(x / STRIDE, across - 1);
    const int first_row = y < PATCH ? 0 : min((y - PATCH) / STRIDE + 1, last_row);
    const int first_column = x < PATCH ? 0 : min((x - PATCH) / STRIDE + 1, last_column);
    const float here = (float)first[t];
    float sum = 0.0f, sum_u = 0.0f, sum_v = 0.0f;
    for (int is = first_row; is <= last_row; ++is)
        for (int js = first_column; js <= last_column; ++js) {
            const float u = sparse_u[is * across + js], v = sparse_v[is * across + js];
            const float to_x = fminf(fmaxf((float)x + u, 0.0f), (float)width - 1.0f - TINY);
            const float to_y = fminf(fmaxf((float)y + v, 0.0f), (float)height - 1.0f - TINY);
            const int left = (int)to_x, top = (int)to_y;
            const unsigned char *a = second + top * width + left, *b = a + width;
            const float from_left = to_x - (float)left, from_right = (float)(left + 1) - to_x;
            const float from_top = to_y - (float)top, from_bottom = (float)(top + 1) - to_y;
            const float difference = from_left * from_top * (float)b[1]
                                     + from_right * from_top * (float)b[0]
                                     + from_left * from_bottom * (float)a[1]
                                     + from_right * from_bottom * (float)a[0] - here;
            const float weight = 1.0f / fmaxf(1.0f, fabsf(difference));
            sum_u += weight * u;
            sum_v += weight * v;
            sum += weight;
        }
    dense_u[t] = sum_u / sum;
    dense_v[t] = sum_v / sum;
}
